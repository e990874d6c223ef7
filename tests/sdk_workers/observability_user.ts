// Logs, is traced and looks at it through the newest Node SDK; run as a program.
// It prints one JSON object, as observability_user.py does.

import { Logger } from '@iii-dev/helpers/observability'
import { registerWorker, TriggerAction } from 'iii-sdk'

const worker = registerWorker(process.env.III_URL ?? '', {
  workerName: 'ts-seen',
  otel: { serviceName: 'ts-shop', metricsExportIntervalMs: 100 },
})
const logger = new Logger(undefined, 'ts-till')

class Inbox {
  private waiting: ((value: any) => void)[] = []
  private kept: any[] = []

  put(value: any) {
    const next = this.waiting.shift()
    if (next) next(value)
    else this.kept.push(value)
  }

  async get(): Promise<any> {
    if (this.kept.length) return this.kept.shift()
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  get size() {
    return this.kept.length
  }
}

const heard = new Inbox()
const traced = new Inbox()

async function call(function_id: string, payload: any = {}): Promise<any> {
  try {
    return (await worker.trigger({ function_id, payload })) ?? null
  } catch (error) {
    return (error as { code: string }).code
  }
}

async function until(found: (answer: any) => boolean, id: string, payload: any) {
  const deadline = Date.now() + 30_000
  for (;;) {
    const answer = await call(id, payload)
    if (found(answer)) return answer
    if (Date.now() > deadline) throw new Error(`${id}: ${JSON.stringify(answer).slice(0, 4000)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const bodies = (answer: any) => answer.logs.map((record: any) => record.body)

worker.registerFunction('ts::work', async (payload: any) => {
  logger.info('working', { n: payload.n })
  if (payload.n < 0) throw new Error('negative')
  logger.warn('worked')
  return await worker.trigger({ function_id: 'ts::step', payload })
})
worker.registerFunction('ts::step', async (payload: any) => ({ n: payload.n + 1 }))
worker.registerFunction('ts::on-log', async (record: any) => {
  heard.put(record.body)
  logger.warn('heard it')
  worker.trigger({
    function_id: 'engine::log::warn',
    payload: { message: 'heard it too' },
    action: TriggerAction.Void(),
  })
})
worker.registerFunction('ts::on-trace', async (event: any) => traced.put(event.trace_ids))
for (const [type, function_id, config] of [
  ['log', 'ts::on-log', { level: 'warn' }],
  ['trace', 'ts::on-trace', { service_name: 'ts-shop', status: 'error' }],
] as const) {
  worker.registerTrigger({ type, function_id, config })
}

const report: Record<string, any> = {}

// A call may overtake the registrations that were made before it.
await until(
  (found) => found.registered_triggers.length === 2,
  'engine::registered-triggers::list',
  { worker: 'ts-seen' },
)

report.answer = await call('ts::work', { n: 1 })
report.heard = [await heard.get()]
report.failed = await call('ts::work', { n: -1 })
report.traced = await traced.get()
const logs = await until(
  (found) => bodies(found).includes('heard it') && bodies(found).includes('heard it too'),
  'engine::logs::list',
  { severity_text: 'warn' },
)
report.record = logs.logs.find((record: any) => record.body === 'worked')
report.tree = await until(
  (found) => JSON.stringify(found).split('"span_id"').length >= 3,
  'engine::traces::tree',
  { trace_id: report.record.trace_id },
)
report.error = await call('engine::traces::list', { trace_ids: report.traced })
report.groups = await call('engine::traces::group_by', { attribute: 'no such' })

report.metrics = await until(
  (found) => found.sdk_metrics.length > 0,
  'engine::metrics::list',
  { metric_name: 'iii.worker.memory.rss', aggregate_interval: 3600 },
)
report.rollups = await call('engine::rollups::list', {
  level: 2,
  metric_name: 'iii.worker.memory.rss',
})
report.info = await call('engine::workers::info', { name: 'ts-seen' })
for (const level of ['trace', 'debug', 'info', 'error']) {
  await call(`engine::log::${level}`, { message: level, service_name: 'direct' })
}
report.direct = (await call('engine::logs::list')).logs
  .filter((record: any) => record.service_name === 'direct')
  .map((record: any) => record.severity_number)
for (const name of ['health::check', 'sampling::rules', 'alerts::list', 'alerts::evaluate']) {
  report[name] = await call(`engine::${name}`)
}
await call('engine::baggage::set', { key: 'a', value: 'b' })
report.baggage = [
  await call('engine::baggage::get', { key: 'a' }),
  await call('engine::baggage::get_all'),
]
report.overflow = await call('engine::metrics::list', { start_time: 2 ** 52 })
report['bad input'] = await call('engine::traces::tree')
report.cleared = [await call('engine::traces::clear'), await call('engine::logs::clear')]
report.more = heard.size
process.stdout.write(JSON.stringify(report), () => process.exit(0))
