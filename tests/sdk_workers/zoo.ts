// A worker on the newest Node SDK that does a bit of everything; run as a program.

import { http } from '@iii-dev/helpers/http'
import { registerWorker, TriggerAction } from 'iii-sdk'
import type { ChannelReader, ChannelWriter } from 'iii-sdk/channel'
import { createChannel } from 'iii-sdk/helpers'

type Request = { function_id: string; payload: unknown }

const worker = registerWorker(process.env.III_URL ?? '', { workerName: 'ts-zoo' })
const bindings = new Map<string, { function_id: string }>()

worker.registerFunction('ts::echo', async (payload: unknown) => payload)

worker.registerFunction('ts::fail', async () => {
  throw new Error('no luck')
})

async function ask(request: Request) {
  try {
    return { result: await worker.trigger(request) }
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return { code, message }
  }
}

worker.registerFunction('ts::ask', ask)

worker.registerFunction('ts::fire', async (request: Request) => {
  await worker.trigger({ ...request, action: TriggerAction.Void() })
})

worker.registerFunction('ts::repeat', async (request: { megabytes: number }) =>
  'x'.repeat(request.megabytes << 20),
)

worker.registerFunction(
  'ts::shout',
  async (request: { function_id: string; megabytes: number }) => {
    const { function_id, megabytes } = request
    try {
      await worker.trigger({ function_id, payload: { text: 'x'.repeat(megabytes << 20) } })
      return { code: null }
    } catch (error) {
      return { code: (error as { code: string }).code }
    }
  },
)

// Strings are cut between the two halves of their last character.
worker.registerFunction('ts::cut', async (request: { text: string }) =>
  request.text.slice(0, -1),
)

worker.registerFunction('ts::ask_cut', async (request: { function_id: string; text: string }) =>
  ask({ function_id: request.function_id, payload: { text: request.text.slice(0, -1) } }),
)

worker.registerFunction('ts::leave', async () => process.exit(3))

worker.registerFunction(
  'ts::write',
  async (request: { writer: ChannelWriter; pieces: number; bytes: number }) => {
    for (let piece = 0; piece < request.pieces; piece++) {
      const data = Buffer.alloc(request.bytes, piece % 256)
      await new Promise((resolve) => request.writer.stream.write(data, resolve))
    }
    request.writer.close()
    return { written: request.pieces * request.bytes }
  },
)

worker.registerFunction('ts::read', async (request: { reader: ChannelReader }) => ({
  read: (await request.reader.readAll()).length,
}))

worker.registerFunction(
  'ts::pass_channel',
  async (request: { function_id: string; payload: object }) => {
    const channel = await createChannel(worker)
    const reading = channel.reader.readAll()
    const written = await worker.trigger<unknown, object>({
      function_id: request.function_id,
      payload: { ...request.payload, writer: channel.writerRef },
    })
    return { ...written, read: (await reading).length }
  },
)

worker.registerFunction(
  'ts::stream',
  http(async (request, response) => {
    const body = await request.request_body.readAll()
    response.status(202)
    response.headers({ 'content-type': 'text/plain', 'x-zoo': 'node' })
    response.stream.write(`${body.length} `)
    response.stream.end(body)
  }),
)

worker.registerTriggerType(
  { id: 'gong', description: 'A gong.' },
  {
    async registerTrigger({ id, function_id, config }) {
      if ((config as { volume: number }).volume > 10) throw new Error('too loud')
      bindings.set(id, { function_id })
    },
    async unregisterTrigger({ id }) {
      bindings.delete(id)
    },
  },
)

worker.registerFunction('ts::ring', async (payload: unknown) =>
  Promise.all(
    [...bindings.values()].map(({ function_id }) => worker.trigger({ function_id, payload })),
  ),
)
