// Keeps a stream of its own through the newest Node SDK, and uses it; run as a program.
// It prints one JSON object, as stream_user.py does.

import { registerWorker } from 'iii-sdk'
import { createStream } from 'iii-sdk/helpers'

type Item = { group_id: string; item_id: string; data?: unknown }
type Told = { event: { type: string; data: unknown } }

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-stream' })
const held: Record<string, Record<string, unknown>> = {}
const told: Told[] = []

createStream(worker, 'own', {
  get: async ({ group_id, item_id }: Item) => held[group_id]?.[item_id] ?? null,
  set: async ({ group_id, item_id, data }: Item) => {
    const group = (held[group_id] ??= {})
    const old_value = group[item_id] ?? null
    group[item_id] = data
    return { old_value, new_value: data }
  },
  delete: async ({ group_id, item_id }: Item) => {
    const old_value = held[group_id]?.[item_id] ?? null
    delete held[group_id]?.[item_id]
    return { old_value }
  },
  list: async ({ group_id }: Item) => Object.values(held[group_id] ?? {}),
  listGroups: async () => Object.keys(held).sort(),
  update: async () => {
    throw new Error('never asked: the SDK does not register it')
  },
} as never)

worker.registerFunction('ts::on-change', async (event: Told) => {
  told.push(event)
})
worker.registerTrigger({
  type: 'stream',
  function_id: 'ts::on-change',
  config: { stream_name: 'own' },
})

async function ask(function_id: string, payload: unknown): Promise<unknown> {
  try {
    return (await worker.trigger({ function_id, payload })) ?? null
  } catch (error) {
    return (error as { code: string }).code
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 10))
const call = (name: string, more: object) =>
  ask(`stream::${name}`, { stream_name: 'own', ...more })

type Rows = { registered_triggers: unknown[] }
const rows = async () => (await ask('engine::registered-triggers::list', {})) as Rows
while (!(await rows()).registered_triggers.length) await pause()

const item = { group_id: 'g', item_id: 'i' }
const report: Record<string, unknown> = {
  missing: await call('get', item),
  set: await call('set', { ...item, data: { n: 1 } }),
  updated: await call('update', { ...item, ops: [{ type: 'increment', path: 'n', by: 2 }] }),
  got: await call('get', item),
  listed: await call('list', { group_id: 'g' }),
  groups: await call('list_groups', {}),
  held: structuredClone(held),
  deleted: await call('delete', item),
  again: await call('delete', item),
}
while (told.length < 3) await pause()
report.events = told.map(({ event }) => [event.type, event.data])
await worker.shutdown()
console.log(JSON.stringify(report))
process.exit(0)
