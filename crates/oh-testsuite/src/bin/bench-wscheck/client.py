"""python-socketio: connects once and leaves."""
import asyncio
import sys

import socketio


async def main():
    client = socketio.AsyncClient()
    await client.connect(sys.argv[1], transports=["websocket"])
    await client.disconnect()


asyncio.run(main())
