// BullMQ on Node. See benches/peers/README.md.
import { createInterface } from 'node:readline';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const [ask, ...numbers] = process.argv.slice(2);
const [jobs, concurrency] = numbers.map(Number);
const connection = () => new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function fill(jobs) {
  const own = connection();
  const queue = new Queue('bench', { connection: own });
  for (let from = 0; from < jobs; from += 1000) {
    const some = Array.from({ length: Math.min(1000, jobs - from) }, (_, n) => ({ name: 'job', data: { n: from + n } }));
    await queue.addBulk(some);
  }
  await queue.close();
  await own.quit();
}

if (ask === 'fill') {
  await fill(jobs);
} else if (ask === 'drain') {
  await fill(jobs);
  console.log('ready');
  await new Promise((start) => createInterface({ input: process.stdin }).once('line', start));
  const began = performance.now();
  await new Promise((over) => {
    let done = 0;
    const worker = new Worker('bench', async () => null, { connection: connection(), concurrency });
    worker.on('completed', () => { if (++done === jobs) over(); });
  });
  console.log((performance.now() - began) / 1000);
  process.exit(0);
} else {
  const redis = connection();
  const work = async (job) => {
    await redis.rpush('started', job.id);
    await sleep(200);
    await redis.rpush('effects', job.id);
    return null;
  };
  new Worker('bench', work, { connection: connection() });
}
