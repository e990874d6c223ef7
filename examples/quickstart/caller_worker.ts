// The Quickstart's TypeScript worker: calls the Python worker and, when asked, serves
// that call over HTTP. An ordinary worker on the public SDK (`npm install iii-sdk
// @iii-dev/helpers`); run it beside a server: `npx tsx caller_worker.ts`.

import { Logger } from '@iii-dev/helpers/observability'
import { registerWorker } from 'iii-sdk'

// Step 12 of the Quickstart: set this to true, save the file and start the worker again.
const SERVE_HTTP: boolean = false

type Numbers = { a?: number; b?: number }
type Sum = { c: number; running_total?: number }

const worker = registerWorker(process.env.III_URL ?? 'ws://localhost:49134', {
  workerName: 'caller-worker',
})
const logger = new Logger()

worker.registerFunction('math::add_two_numbers', async (numbers: Numbers) => {
  logger.info('asking math::add', numbers)
  const sum = await worker.trigger<Numbers, Sum>({
    function_id: 'math::add',
    payload: numbers,
  })
  return { ...sum, success: 'TypeScript asked, Python answered' }
})

if (SERVE_HTTP) {
  worker.registerFunction('http::add_two_numbers', async (request: { body: Numbers }) => {
    const { c, running_total } = await worker.trigger<Numbers, Sum>({
      function_id: 'math::add_two_numbers',
      payload: request.body,
    })
    return {
      status_code: 200,
      body: { c, running_total },
      headers: { 'Content-Type': 'application/json' },
    }
  })
  worker.registerTrigger({
    type: 'http',
    function_id: 'http::add_two_numbers',
    config: { api_path: '/math/add-two-numbers', http_method: 'POST' },
  })
}
