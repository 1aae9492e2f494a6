# What may stand behind a proxy, each on a port of its own: OpenHands of generation V0, and how it may be set up.
import asyncio, contextlib, socket, socketio, uvicorn

PAGE = b'<!doctype html><title>OpenHands</title>'


async def page(scope, receive, send):
    """As FastAPI does it: a page for everything, and no WebSocket."""
    await receive()
    if scope['type'] == 'websocket':
        return await send({'type': 'websocket.close'})
    head = [(b'content-type', b'text/html; charset=utf-8'), (b'content-length', b'%d' % len(PAGE))]
    await send({'type': 'http.response.start', 'status': 200, 'headers': head})
    await send({'type': 'http.response.body', 'body': PAGE})


def openhands(path='socket.io', **options):
    io = socketio.AsyncServer(async_mode='asgi', max_http_buffer_size=4194304, **options)

    @io.event
    async def connect(sid, environ):
        query = environ['QUERY_STRING']
        if 'refuse' in query:
            raise ConnectionRefusedError('No conversation_id in query params')
        await asyncio.sleep(3600 if 'hang' in query else 1.5 if 'slow' in query else 0)

    @io.event
    async def ask(sid, data):
        return data

    return socketio.ASGIApp(io, other_asgi_app=page, socketio_path=path)


SERVERS = {
    'any': openhands(cors_allowed_origins='*'),
    'own': openhands(),
    'listed': openhands(cors_allowed_origins=['https://elsewhere.example']),
    'based': openhands('oh/socket.io', cors_allowed_origins='*'),
    'polling': openhands(cors_allowed_origins='*', transports=['polling']),
    'websocket': openhands(cors_allowed_origins='*', transports=['websocket']),
    'page': page,
}


async def main():
    running, ports = [], []
    for name, app in SERVERS.items():
        listening = socket.create_server(('127.0.0.1', 0))
        ports.append(f'{name}={listening.getsockname()[1]}')
        server = uvicorn.Server(uvicorn.Config(app, log_level='error', lifespan='off'))
        # Many in one process: it is the process that a signal ends.
        server.capture_signals = contextlib.nullcontext
        running.append(server.serve(sockets=[listening]))
    print('ports', *ports, flush=True)
    await asyncio.gather(*running)


asyncio.run(main())
