// A worker on any Node SDK since 0.11 that does what a script asks of it; see client.py.

import { registerWorker, TriggerAction } from 'iii-sdk'

const NAME = process.env.CLIENT
const KINDS = (process.env.CLIENT_KINDS ?? 'http').split(',')
const delay = Number(process.env.CLIENT_RECONNECT_MS ?? 0)
const reconnectionConfig = { initialDelayMs: delay, maxDelayMs: 4 * delay }

const worker = registerWorker(process.env.III_URL, {
  workerName: NAME,
  ...(delay ? { reconnectionConfig } : {}),
})
const bindings = new Map()
const bells = new Map()

const call = (function_id, payload, more = {}) => worker.trigger({ function_id, payload, ...more })
const unmarked = ({ _caller_worker_id, ...payload }) => payload
const echo = async (payload) => ({ from: NAME, payload: unmarked(payload) })

const functions = {
  echo,
  fail: async () => {
    throw new Error('no luck')
  },
  size: async ({ text }) => ({ size: text.length }),
  big: async ({ size }) => ({ text: 'x'.repeat(size) }),
  ask: async ({ function_id, payload }) => {
    try {
      return { result: await call(function_id, payload) }
    } catch (error) {
      return { code: error.code, message: error.message }
    }
  },
  fire: async ({ function_id, payload }) => {
    await call(function_id, payload, { action: TriggerAction.Void() })
  },
  enqueue: async ({ queue, function_id, payload }) =>
    call(function_id, payload, { action: TriggerAction.Enqueue({ queue }) }),
  bind: async ({ kind, type, config }) => {
    const function_id = `${NAME}::on_${kind}`
    bindings.set(kind, worker.registerTrigger({ type, function_id, config }))
  },
  unbind: async ({ kind }) => {
    bindings.get(kind).unregister()
    bindings.delete(kind)
  },
  write: async ({ writer, pieces, bytes }) => {
    for (let piece = 0; piece < pieces; piece++) {
      const data = Buffer.alloc(bytes, piece % 256)
      await new Promise((resolve) => writer.stream.write(data, resolve))
    }
    writer.close()
    return { written: pieces * bytes }
  },
  read: async ({ nested }) => ({ read: (await nested[0].reader.readAll()).length }),
  relay: async (request) => {
    const { writer, reader } = await call('engine::channels::create', {})
    await call('script::write', { ...request, writer }, { action: TriggerAction.Void() })
    return call(`${NAME}::read`, { nested: [{ reader }] })
  },
  ring: async (payload) =>
    Promise.all([...bells.values()].map((function_id) => call(function_id, unmarked(payload)))),
}

worker.registerTriggerType(
  { id: `${NAME}-bell`, description: 'A bell.' },
  {
    async registerTrigger({ id, function_id, config }) {
      if (config.volume > 10) throw new Error('too loud')
      bells.set(id, function_id)
    },
    async unregisterTrigger({ id }) {
      bells.delete(id)
    },
  },
)
for (const [name, handler] of Object.entries(functions)) {
  worker.registerFunction(`${NAME}::${name}`, handler)
}
for (const kind of KINDS) {
  worker.registerFunction(`${NAME}::on_${kind}`, async () => {
    if (!process.env.CLIENT_QUIET) await call('script::fired', { client: NAME, kind })
    return { status_code: 200, body: { from: NAME } }
  })
}
worker.registerFunction('script::taken', echo)
worker.registerFunction(`${NAME}::ready`, echo)
