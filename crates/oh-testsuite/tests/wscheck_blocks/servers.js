// The same on Node, with a page for everything else.
const { createServer } = require('http');
const { Server } = require('socket.io');

const serve = (name, options) => new Promise((done) => {
  const http = createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>OpenHands</title>');
  });
  new Server(http, options).on('connection', (socket) => socket.on('ask', (data, answer) => answer(data)));
  http.listen(0, '127.0.0.1', () => done(`${name}=${http.address().port}`));
});

Promise.all([serve('node', {}), serve('node-polling', { transports: ['polling'] })])
  .then((ports) => console.log('ports', ...ports));
