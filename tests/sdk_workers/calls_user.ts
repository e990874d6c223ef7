// Makes the calls that it is given, through the newest Node SDK; run as a program.
// It reads and writes what calls_user.py does.

import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'

import { registerWorker } from 'iii-sdk'

type Answer = { result?: unknown; error?: [string, string] }

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-calls' })

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

const answers: Answer[] = []
for (const { until, ...request } of JSON.parse(readFileSync(0, 'utf8'))) {
  let found = await answer(request as never)
  while (until !== undefined && !isDeepStrictEqual(found.result, until)) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    found = await answer(request as never)
  }
  answers.push(found)
}
await worker.shutdown()
console.log(JSON.stringify(answers))
process.exit(0)
