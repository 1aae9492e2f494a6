// socket.io-client: connects COUNT times, PAR at once, holds all, says what it took, and closes.
const { io } = require('socket.io-client');
const fs = require('fs');
const [url, count, par] = [process.argv[1], ...process.argv.slice(2).map(Number)];
const kib = (name) => Number(fs.readFileSync('/proc/self/status', 'utf8').match(`${name}:\\s+(\\d+)`)[1]);
const base = kib('VmHWM');
const cpu = process.cpuUsage();
const began = process.hrtime.bigint();
const sockets = [];
let made = 0;
const next = () => {
  if (sockets.length === count) { return; }
  const socket = io(url, { transports: ['websocket'], forceNew: true, reconnection: false });
  sockets.push(socket);
  socket.on('connect_error', (error) => { throw error; });
  socket.on('connect', () => { made += 1; made === count ? end() : next(); });
};
const end = () => {
  const took = Number(process.hrtime.bigint() - began) / 1e6;
  process.on('exit', () => {
    const { user, system } = process.cpuUsage(cpu);
    console.log(`${count} ${took} ${(user + system) / 1000} ${base} ${kib('VmHWM')}`);
  });
  sockets.forEach((socket) => socket.disconnect());
};
for (let begun = 0; begun < par; begun += 1) { next(); }
