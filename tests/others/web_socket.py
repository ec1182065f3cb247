"""WebSockets by others: `serve` plays an upstream on a port of its own, `talk` a client of the gateway."""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def answer(socket):
    """Says back what it hears; `who` is answered with the credential that was shown, `frames` with it in several."""
    shown = socket.request.headers.get("Authorization", "none")
    async for message in socket:
        if message == "who":
            await socket.send(f"you are {shown}")
        elif message == "frames":
            await socket.send([shown[:12], shown[12:13], shown[13:40], shown[40:]])
        elif message == "drip":
            for letter in shown.removeprefix("Bearer "):
                await socket.send(letter)
            await socket.send("over")
        elif message == "headers":
            await socket.send(json.dumps(sorted(socket.request.headers.keys())))
        elif message == "bye":
            await socket.close(1000, "bye")
        else:
            await socket.send(message)


async def upstream():
    async with serve(answer, "127.0.0.1", 0, compression="deflate") as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def client(url, handle, ca, certificate, key):
    """Sends each line of its input as a message, and prints each answer as a line of JSON."""
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    headers = {"jeton-session": handle}
    async with connect(url, ssl=context, additional_headers=headers) as socket:
        print(json.dumps({"extensions": len(socket.protocol.extensions)}), flush=True)

        async def hear():
            async for message in socket:
                print(json.dumps({"message": message}), flush=True)

        hearing = asyncio.create_task(hear())
        loop = asyncio.get_running_loop()

        async def say():
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                await socket.send(line.rstrip("\n"))

        saying = asyncio.create_task(say())
        await asyncio.wait([hearing, saying], return_when=asyncio.FIRST_COMPLETED)
        await hearing
        print(json.dumps({"closed": socket.close_code}), flush=True)


async def told(*arguments):
    try:
        await client(*arguments)
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
    # Why: a thread still waits for the next line.
    os._exit(0)


asyncio.run(upstream() if sys.argv[1] == "serve" else told(*sys.argv[2:7]))
