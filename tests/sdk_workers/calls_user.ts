// Makes the calls that it is given, through the newest Node SDK; run as a program.
// It reads and writes what calls_user.py does.

import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'

import { registerWorker } from 'iii-sdk'

type Answer = { result?: unknown; error?: [string, string] }

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'calls' })

worker.registerFunction('sdk::refuse', async () => {
  throw new Error('never')
})

async function answer(request: never): Promise<Answer> {
  try {
    const result: unknown = await worker.trigger(request)
    return result === undefined ? {} : { result }
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return { error: [code, message] }
  }
}

const kept = new Map<unknown, unknown>()

function filled(payload: unknown): unknown {
  if (payload === null || typeof payload !== 'object' || Array.isArray(payload)) return payload
  const fields = Object.entries(payload)
  return Object.fromEntries(fields.map(([name, value]) => [name, kept.get(value) ?? value]))
}

const answers: Answer[] = []
for (const { until, keep, ...request } of JSON.parse(readFileSync(0, 'utf8'))) {
  request.payload = filled(request.payload)
  let found = await answer(request as never)
  while (until !== undefined && !isDeepStrictEqual(found.result, until)) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    found = await answer(request as never)
  }
  if (keep) kept.set(`$${keep}`, (found.result as { id: string }).id)
  answers.push(found)
}
await worker.shutdown()
console.log(JSON.stringify(answers))
process.exit(0)
