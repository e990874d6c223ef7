// Uses cron and pub/sub through the newest Node SDK; run as a program.
// It prints one JSON object, as triggers_user.py does.

import { registerWorker, TriggerAction } from 'iii-sdk'

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-triggers' })

class Inbox {
  private waiting: ((value: unknown) => void)[] = []
  private kept: unknown[] = []

  put(value: unknown) {
    const next = this.waiting.shift()
    if (next) next(value)
    else this.kept.push(value)
  }

  async get(): Promise<unknown> {
    if (this.kept.length) return this.kept.shift()
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  get size() {
    return this.kept.length
  }
}

const ticks = new Inbox()
const messages = new Inbox()

worker.registerFunction('ts::tick', async (payload: unknown) => ticks.put(payload))
worker.registerFunction('ts::hear', async (data: unknown) => messages.put(data))

async function call(function_id: string, payload: unknown): Promise<unknown> {
  try {
    return (await worker.trigger({ function_id, payload })) ?? null
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return [code, message]
  }
}

function bind(type: string, function_id: string, config: unknown) {
  return worker.registerTrigger({ type, function_id, config })
}

async function waitForJobs(count: number): Promise<unknown> {
  for (;;) {
    const jobs = (await call('cron::list', {})) as unknown[]
    if (jobs.length === count) return jobs
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const report: Record<string, unknown> = {}

const everySecond = bind('cron', 'ts::tick', { expression: '* * * * * *' })
bind('cron', 'ts::tick', { expression: 'no cron' })
report.ticks = [await ticks.get(), await ticks.get()]
report.jobs = await waitForJobs(1)
everySecond.unregister()
report.left = await waitForJobs(0)
const asked = { expression: '@daily', after: '2026-01-01T00:00:00+00:00', count: 1 }
report.next = await call('cron::next', asked)
report.bad = await call('cron::next', { expression: 'no cron' })

bind('subscribe', 'ts::hear', { topic: 'news' })
const second = bind('subscribe', 'ts::hear', { topic: 'news' })
report.answer = await call('publish', { topic: 'news', data: null })
report.null = [await messages.get(), await messages.get()]
second.unregister()
await waitForJobs(0) // answered after what was sent before it
for (let n = 0; n < 20; n++) {
  const payload = { topic: 'news', data: { n } }
  await worker.trigger({ function_id: 'publish', payload, action: TriggerAction.Void() })
}
const heard: number[] = []
for (let n = 0; n < 20; n++) heard.push(((await messages.get()) as { n: number }).n)
report.heard = heard
report.nobody = await call('publish', { topic: 'new', data: 1 })
report.no_topic = await call('publish', { topic: '', data: 1 })
report.no_data = await call('publish', { topic: 'news' })
report.more = messages.size
process.stdout.write(JSON.stringify(report), () => process.exit(0))
