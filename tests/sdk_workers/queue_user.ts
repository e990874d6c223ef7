// Uses everything that queues offer, through the newest Node SDK; run as a program.
// It prints one JSON object, as queue_user.py does.

import { registerWorker, TriggerAction } from 'iii-sdk'

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-queues' })
const delivered: unknown[] = []

const pause = () => new Promise((resolve) => setTimeout(resolve, 10))

async function next(): Promise<unknown> {
  while (!delivered.length) await pause()
  return delivered.shift()
}

async function trigger(request: object): Promise<unknown> {
  try {
    return (await worker.trigger(request as never)) ?? null
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return [code, message]
  }
}

// Call a function; its answer, or the code and message of its error.
const call = (function_id: string, payload: object = {}) => trigger({ function_id, payload })

// Enqueue a call; the receipt, or the code and message of the error.
const enqueue = (function_id: string, queue: string, payload: unknown) =>
  trigger({ function_id, payload, action: TriggerAction.Enqueue({ queue }) })

type Row = { id: string }

// The dead messages of a queue, once there is one.
async function waitForDead(topic: string): Promise<Row[]> {
  for (;;) {
    const rows = (await call('engine::queue::dlq_messages', { topic })) as Row[]
    if (rows.length) return rows
    await pause()
  }
}

worker.registerFunction('ts::take', async (data: unknown) => {
  delivered.push(data)
})
worker.registerFunction('ts::refuse', async () => {
  throw new Error('never')
})
worker.registerTrigger({
  type: 'durable:subscriber',
  function_id: 'ts::take',
  config: { topic: 'news', queue_config: { maxRetries: 1 } },
})

const report: Record<string, unknown> = {}
report.defined = await call('queue::define', { queue: 'once', config: { max_retries: 1 } })
report.receipt = await enqueue('ts::take', 'default', { n: 1 })
report.first = await next()
report.published = await call('iii::durable::publish', { topic: 'news', data: [2] })
report.second = await next()
report.unknown = await enqueue('ts::take', 'nowhere', {})
await enqueue('ts::refuse', 'once', { n: 3 })
const dead = await waitForDead('once')
report.dead = dead
report.dlq_topics = await call('engine::queue::dlq_topics')
report.topics = await call('engine::queue::list_topics')
report.stats = await call('engine::queue::topic_stats', { topic: 'once' })
const place = { queue: 'once', message_id: dead[0].id }
report.redriven = await call('iii::queue::redrive_message', place)
await waitForDead('once')
report.discarded = await call('iii::queue::discard_message', place)
report.all = await call('iii::queue::redrive', { queue: 'once' })
report.empty = await call('iii::queue::redrive', { queue: '' })
await worker.shutdown()
console.log(JSON.stringify(report))
process.exit(0)
