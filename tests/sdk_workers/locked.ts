// A worker on the newest Node SDK that shows who it is; run as a program.

import { registerWorker } from 'iii-sdk'

type Request = { function_id: string; payload: unknown }

const headers = JSON.parse(process.env.LOCKED_HEADERS ?? 'null') ?? undefined
const worker = registerWorker(process.env.III_URL ?? '', {
  workerName: 'ts-locked',
  headers,
})

async function attempt(request: Request) {
  try {
    return { result: await worker.trigger(request) }
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return { code, message }
  }
}

worker.registerFunction('attempt', attempt)
worker.registerFunction('last', attempt)
