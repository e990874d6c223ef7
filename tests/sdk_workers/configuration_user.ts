// Uses the configuration worker through the newest Node SDK; run as a program.
// It prints one JSON object, as configuration_user.py does.

import { registerWorker } from 'iii-sdk'

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-settings' })

const schema = {
  type: 'object',
  properties: { port: { type: 'integer' } },
  required: ['port'],
}
const about = { id: 'ts', name: 'Ts', description: 'For tests.', schema }

const events: unknown[] = []
let heard = () => {}
const threeEvents = new Promise<void>((resolve) => {
  heard = () => {
    if (events.length === 3) resolve()
  }
})

worker.registerFunction('ts::keep', async (event: unknown) => {
  events.push(event)
  heard()
})

async function call(name: string, payload: unknown): Promise<any> {
  try {
    return (await worker.trigger({ function_id: `configuration::${name}`, payload })) ?? null
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return [code, message]
  }
}

const report: Record<string, unknown> = {}
report.early = await call('set', { id: 'ts', value: 1 })
worker.registerTrigger({
  type: 'configuration',
  function_id: 'ts::keep',
  config: { configuration_id: 'ts' },
})
report.register = await call('register', about)
report.bad_schema = await call('register', { ...about, id: 'x', schema: { type: 1 } })
report.bad_id = await call('register', { ...about, id: 'Not Valid' })
report.bad_input = await call('register', { id: 'ts' })
report.set = await call('set', { id: 'ts', value: { port: '${TS_PORT:81}' } })
report.invalid = await call('set', { id: 'ts', value: { port: 'high' } })
report.get = await call('get', { id: 'ts' })
report.raw = await call('get', { id: 'ts', raw: true })
report.schema = await call('schema', { id: 'ts' })
report.missing = await call('get', { id: 'nobody' })
const listed = (await call('list', {})).configurations as { id: string }[]
report.list = listed.filter((entry) => ['ts', 'old'].includes(entry.id))
report.unknown_schema = await call('set', { id: 'old', value: 2 })
report.old = await call('get', { id: 'old' })
await call('set', { id: 'ts', value: { port: '${NOT_SET_ANYWHERE}' } })
report.unset = await call('get', { id: 'ts' })
await threeEvents
report.events = events
process.stdout.write(JSON.stringify(report), () => process.exit(0))
