// Writes through the newest Node SDK while the engine is killed again and again.
// It says on stdout, and is told on stdin, what crash_user.py does.

import { createInterface } from 'node:readline'

import { registerWorker, TriggerAction } from 'iii-sdk'

console.log = console.error // the SDK says that it connected; stdout is ours

const PAD = 'x'.repeat(500)
const TIMEOUT_MS = 1000 // a call that a kill cut off; nobody knows if it was done

const worker = registerWorker(process.env.III_URL ?? '', {
  workerName: 'ts-crash',
  reconnectionConfig: { initialDelayMs: 30, maxDelayMs: 200, maxRetries: -1 },
})

type Failure = { code?: string; message?: string }
type Message = { n: number }

function say(...words: unknown[]) {
  process.stdout.write(`${words.join(' ')}\n`)
}

function textOf(error: unknown): string {
  return String((error as Failure).message ?? error).replaceAll(/\s+/g, ' ')
}

const failedOnce = new Set<string>()

// Take a message of a queue: every eleventh fails always, every seventh once.
function take(queue: string, { n }: Message) {
  say('run', queue, n)
  const first = !failedOnce.has(`${queue} ${n}`)
  failedOnce.add(`${queue} ${n}`)
  if (n % 11 === 0 || (n % 7 === 0 && first)) throw new Error(`${n}`)
}

async function call(function_id: string, payload: unknown, action?: unknown): Promise<unknown> {
  const request = { function_id, payload, action, timeoutMs: TIMEOUT_MS }
  return (await worker.trigger(request as never)) ?? null
}

const valueOf = (n: number) => ({ n, pad: PAD })

// Declare the configuration: its owner's task at every start of an engine.
async function declare() {
  const schema = { type: 'object', properties: { n: { type: 'integer' } } }
  const texts = { id: 'ts', name: 'Crash', description: 'A number.' }
  await call('configuration::register', { ...texts, schema })
}

// Set the configuration, which a new engine refuses until it is declared.
async function configure(n: number) {
  try {
    await call('configuration::set', { id: 'ts', value: { n } })
  } catch (error) {
    const { code } = error as Failure
    if (code === 'NOT_REGISTERED' || code === 'SCHEMA_UNAVAILABLE') await declare()
    throw error
  }
}

const ITEM = { stream_name: 'ts', group_id: 'g', item_id: 'i' }
const KEY = { scope: 'ts', key: 'k' }
const COUNT = { scope: 'ts', key: 'count' }
const INCREMENT = [{ type: 'increment', path: '', by: 1 }]

function enqueue(queue: string, n: number) {
  const action = TriggerAction.Enqueue({ queue: `ts-${queue}` })
  return call(`ts::${queue}`, { n, group: n % 3 }, action)
}

const WRITES: Record<string, (n: number) => Promise<unknown>> = {
  state: (n) => call('state::set', { ...KEY, value: valueOf(n) }),
  count: () => call('state::update', { ...COUNT, ops: INCREMENT }),
  stream: (n) => call('stream::set', { ...ITEM, data: valueOf(n) }),
  config: configure,
  line: (n) => enqueue('line', n),
  jobs: (n) => enqueue('jobs', n),
  news: (n) => call('iii::durable::publish', { topic: 'ts-news', data: { n } }),
}

// What writers wait for before each write: open while nobody looks.
let gate: Promise<void> = Promise.resolve()
const busy: Record<string, Promise<unknown>> = {}

async function attempt(kind: string, n: number) {
  say('try', kind, n)
  try {
    await WRITES[kind](n)
    say('ack', kind, n)
  } catch (error) {
    say('failed', kind, n, textOf(error))
  }
}

async function write(kind: string) {
  for (let n = 1; ; n++) {
    for (let seen; seen !== gate; ) await (seen = gate)
    await (busy[kind] = attempt(kind, n))
  }
}

async function found() {
  return {
    state: await call('state::get', KEY),
    count: await call('state::get', COUNT),
    stream: await call('stream::get', ITEM),
    config: await call('configuration::get', { id: 'ts' }),
    line: await call('engine::queue::topic_stats', { topic: 'ts-line' }),
    jobs: await call('engine::queue::topic_stats', { topic: 'ts-jobs' }),
    news: await call('engine::queue::topic_stats', { topic: 'ts-news' }),
  }
}

// Do it, again and again while the engine is away.
async function patiently<T>(action: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await action()
    } catch (error) {
      say('again', textOf(error))
    }
  }
}

// Say what the engine holds while nothing is written.
async function look(number: string, goOn: boolean) {
  let open = () => {}
  gate = new Promise((resolve) => (open = resolve))
  await Promise.all(Object.values(busy))
  say('found', number, JSON.stringify(await patiently(found)))
  if (goOn) open()
}

for (const queue of ['line', 'jobs']) {
  worker.registerFunction(`ts::${queue}`, async (message: Message) => take(queue, message))
}
worker.registerFunction('ts::news', async ({ n }: Message) => say('run', 'news', n))
worker.registerTrigger({
  type: 'durable:subscriber',
  function_id: 'ts::news',
  config: { topic: 'ts-news' },
})
await patiently(declare)
for (const kind of Object.keys(WRITES)) void write(kind)

let looking: Promise<void> = Promise.resolve()
for await (const line of createInterface({ input: process.stdin })) {
  const [order, number] = line.split(' ')
  if (order === 'mark') say('mark', number)
  else looking = looking.then(() => look(number, order === 'check'))
}
process.exit(0) // whoever ordered is gone
