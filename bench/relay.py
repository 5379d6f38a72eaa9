#!/usr/bin/python3
"""A TCP relay for benchmarks that makes a server bad: slow (each way, milliseconds) or failing (cuts, a second)."""
import asyncio
import sys


async def pipe(reader, writer, delay):
    """Bytes in order, each piece `delay` seconds late."""
    queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def deliver():
        while (item := await queue.get()) is not None:
            due, data = item
            await asyncio.sleep(max(0, due - loop.time()))
            writer.write(data)
            await writer.drain()
    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(65536):
            queue.put_nowait((loop.time() + delay, data))
    except OSError:
        pass
    queue.put_nowait(None)
    await asyncio.gather(delivery, return_exceptions=True)
    writer.close()


async def main(target, delay_ms, cuts):
    host, port = target.rsplit(":", 1)
    open_now = set()

    async def serve(reader, writer):
        near, far = await asyncio.open_connection(host, int(port))
        open_now.update((writer, far))
        await asyncio.gather(pipe(reader, far, delay_ms / 1000), pipe(near, writer, delay_ms / 1000))
        open_now.difference_update((writer, far))
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while cuts:
        await asyncio.sleep(1 / cuts)
        for writer in open_now:
            writer.transport.abort()
        open_now.clear()
    await server.serve_forever()


asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
