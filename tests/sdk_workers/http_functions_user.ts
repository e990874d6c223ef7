// Registers HTTP-invoked functions through the newest Node SDK; run as a program.
// It prints one JSON object, as http_functions_user.py does.

import { registerWorker } from 'iii-sdk'

const endpoint = process.env.ENDPOINT_URL ?? ''
const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-http' })

async function call(function_id: string, payload: unknown): Promise<unknown> {
  try {
    return (await worker.trigger({ function_id, payload })) ?? null
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return [code, message]
  }
}

function register(name: string, path: string, options: object = {}) {
  const invocation = { url: `${endpoint}/${path}`, method: 'POST' as const, ...options }
  worker.registerFunction(`ts::${name}`, invocation, { description: `is ${name}` })
}

async function fetchHook(): Promise<unknown> {
  for (let n = 0; n < 200; n++) {
    const response = await fetch(`${process.env.GATEWAY_URL}/hook`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"n":1}',
    })
    if (response.status !== 404) return response.json()
    await response.text()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return null
}

const report: Record<string, unknown> = {}
register('plain', 'echo', { timeout_ms: 20000, headers: { 'X-Tag': 'ts' } })
register('hmac', 'echo', { auth: { type: 'hmac', secret_key: 'HOOK_KEY' } })
register('bearer', 'echo', { method: 'PUT', auth: { type: 'bearer', token_key: 'HOOK_KEY' } })
register('api_key', 'echo', {
  auth: { type: 'api_key', header: 'X-Api-Key', value_key: 'HOOK_KEY' },
})
register('failing', 'fail')
register('keyless', 'echo', { auth: { type: 'hmac', secret_key: 'NO_SUCH_KEY' } })
await call('engine::workers::list', {}) // functions are registered when it is answered
for (const name of ['plain', 'hmac', 'bearer', 'api_key', 'failing', 'keyless']) {
  report[name] = await call(`ts::${name}`, { n: 1 })
}
worker.registerTrigger({
  type: 'http',
  function_id: 'ts::hmac',
  config: { api_path: '/hook', http_method: 'POST' },
})
report.gateway = await fetchHook()
process.stdout.write(JSON.stringify(report), () => process.exit(0))
