// The server that all clients are measured against: socket.io as it is, with nothing behind it.
const http = require('http').createServer((_, answer) => answer.end(String(io.engine.clientsCount)));
const io = new (require('socket.io').Server)(http);
http.listen(0, '127.0.0.1', 4096, () => console.log(`running on http://127.0.0.1:${http.address().port}`));
