// Provides a trigger type and an action through the newest Node SDK; run as a program.
// It does what extender.py does, and `ts::ask` calls a function with any action.

import { registerWorker, TriggerAction } from 'iii-sdk'

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-extender' })
const bindings = new Map<string, { function_id: string; config: { tone: string } }>()
const actions = {
  sync: undefined,
  void: TriggerAction.Void(),
  enqueue: TriggerAction.Enqueue({ queue: 'default' }),
}

worker.registerTriggerType(
  { id: 'ts-chime', description: 'A chime.' },
  {
    async registerTrigger({ id, function_id, config }) {
      const { tone } = config as { tone?: string }
      if (tone === undefined) throw new Error('a chime needs a tone')
      bindings.set(id, { function_id, config: { tone } })
    },
    async unregisterTrigger({ id }) {
      bindings.delete(id)
    },
  },
)

worker.registerFunction(
  'ts::later',
  async (request: { function_id: string; data: unknown; action: { minutes: number } }) => ({
    minutes: request.action.minutes,
    answer: await worker.trigger({ function_id: request.function_id, payload: request.data }),
  }),
  { metadata: { trigger_action: 'ts-later' } },
)

worker.registerFunction(
  'ts::ask',
  async (request: { function_id: string; payload: unknown; action: any }) =>
    await worker.trigger(request),
)

worker.registerFunction('ts::ring', async (request: { how: keyof typeof actions }) => {
  const answers: unknown[] = []
  for (const { function_id, config } of bindings.values()) {
    const call = { function_id, payload: config, action: actions[request.how] }
    answers.push((await worker.trigger(call)) ?? null)
  }
  return answers
})
