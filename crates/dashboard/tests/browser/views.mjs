// Drives every view of the dashboard in Chromium, and looks at it with axe-core.
//   node views.mjs PORT STATE EARLIER_PORT EMPTY_PORT KEY
// The dashboard at EMPTY_PORT has nothing to show; KEY is a message whose turn told of its hooks.
// DRIVER is the folder with playwright-core and axe-core; pictures go to TINYCLAW_SCREENSHOTS, when it is set.
import { createRequire } from 'node:module';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [port, state, earlier, nothing, answered] = process.argv.slice(2);
const require = createRequire(join(process.env.DRIVER, 'x.js'));
const { chromium } = require('playwright-core');
const axe = readFileSync(join(process.env.DRIVER, 'node_modules/axe-core/axe.min.js'), 'utf8');
const pictures = process.env.TINYCLAW_SCREENSHOTS;
if (pictures) mkdirSync(pictures, { recursive: true });

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
const home = `http://127.0.0.1:${port}/`, before = `http://127.0.0.1:${earlier}/`, empty = `http://127.0.0.1:${nothing}/`;
const wrong = [];
const check = (it, words) => { if (!it) { wrong.push(words); console.log('wrong:', words); } };

// What each view must show, so that page and server cannot drift apart.
const views = {
  overview: { hash: '#/overview', shows: ['Queue', 'incoming', 'Threads', 'homepage', 'not ready', 'RAM', 'working', 'Every desk is a user of its own'], ready: '.flow a' },
  feed: { hash: '#/feed', shows: ['queue', 'Ada', 'opus'], ready: '.feed .r time' },
  thread: { hash: '#/thread/3', shows: ['queue', 'Claude', 'COMPLEX', '/srv/office/queue'], ready: '.bubble' },
  routing: { hash: '#/routing', shows: ['SIMPLE', 'COMPLEX', 'opus'], ready: '.route .r time' },
  prompts: { hash: '#/prompts', shows: ['characters', 'running session'], ready: '.promptl .r time' },
  system: { hash: '#/system', shows: ['CPU, all cores', 'core 0', 'telegram', 'Load'], ready: '.chart path' },
  logs: { hash: '#/logs', shows: ['INFO', 'goes to'], ready: '.logl .r .t' },
  events: { hash: '#/events', shows: ['claude.Notification', 'the last one', 'laptop', 'of 10,000'], ready: '.eventl .r time' },
};

async function open(width, height, scheme, name) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: scheme === 'light' ? 'reduce' : 'no-preference' });
  const page = await context.newPage();
  page.on('console', it => { if (['error', 'warning'].includes(it.type()) && !['full', 'strange', 'no gateway'].includes(name)) check(false, `${name}: console says ${it.text()}`); });
  page.on('pageerror', it => check(false, `${name}: ${it.message}`));
  page.on('request', it => check([home, before, empty].some(home => it.url().startsWith(home)) || it.url().startsWith('data:'), `${name}: asked ${it.url()}`));
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', it => console.error('policy: ' + it.violatedDirective + ' ' + it.blockedURI)));
  return page;
}
// axe is run over the debugger, which the page's policy does not concern.
async function accessible(page, name) {
  const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] }).then(it => it.violations.filter(v => ['serious', 'critical'].includes(v.impact)).map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + (n.any[0]?.message || '')).join(' | ')))`);
  check(!found.length, `${name}: axe finds ${found.join('; ')}`);
}
const until = (page, work, words, it) => page.waitForFunction(work, it, { timeout: 20000 }).catch(() => check(false, words));

async function look(width, height, size, scheme) {
  const page = await open(width, height, scheme, `${size} ${scheme}`);
  for (const [view, { hash, shows, ready }] of Object.entries(views)) {
    const name = `${view} ${size} ${scheme}`;
    await page.goto('about:blank');
    await page.goto(home + hash);
    await until(page, it => document.querySelector(it), `${name}: nothing appears`, ready);
    await until(page, () => document.querySelector('#line').textContent === 'live' && document.querySelector('#proof').textContent.includes('0 gaps'), `${name}: the footer does not prove the tail`);
    if (size === 'wide') for (const word of shows) await until(page, it => document.body.innerText.includes(it), `${name}: does not show ${word}`, word);
    check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector('#view').scrollWidth <= innerWidth), `${name}: wider than the window`);
    await accessible(page, name);
    if (pictures) await page.screenshot({ path: join(pictures, `${view}-${size}-${scheme}.png`) });
    if (view === 'overview') check(await page.evaluate(() => { const bad = [...document.querySelectorAll('.chip.bad')]; return bad.length && bad.every(it => it.getBoundingClientRect().right <= it.parentElement.getBoundingClientRect().right); }), `${name}: what a person must do is cut off`);
  }
  if (size === 'narrow') {
    await page.goto(home + '#/routing?whatif=1');
    await page.waitForSelector('.what input');
    check(await page.locator('.what label').evaluateAll(list => list.every(it => it.scrollWidth <= it.clientWidth)), `what if ${scheme}: a name runs under its slider`);
    if (pictures) await page.screenshot({ path: join(pictures, `whatif-${size}-${scheme}.png`) });
    await page.goto(home + '#/routing?costs=1');
    await page.waitForSelector('.side .chart rect');
    check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `costs ${scheme}: wider than the window`);
    check(await page.locator('.side td').evaluateAll(list => list.every(it => it.getBoundingClientRect().right <= innerWidth)), `costs ${scheme}: a sum is cut off`);
    if (pictures) await page.screenshot({ path: join(pictures, `costs-${size}-${scheme}.png`) });
    await page.goto(home + '#/feed?direction=out');
    await page.locator('.feed .r.out').nth(-3).click();
    await page.waitForSelector('.side .fall');
    check(await page.locator('.fall > span:not(.track)').evaluateAll(list => list.every(it => it.offsetHeight < 22 && it.scrollWidth <= it.clientWidth + 1)), `waterfall ${scheme}: a name is broken`);
    if (pictures) await page.screenshot({ path: join(pictures, `waterfall-${size}-${scheme}.png`) });
  }
  await page.context().close();
}
// Beside a detail a list keeps its words and what it warns of, and the row that was opened stays in sight.
async function beside(width, scheme) {
  const page = await open(width, 800, scheme, `beside ${width}`);
  for (const view of ['feed', 'routing', 'prompts?only=fault']) {
    const name = `${view} ${width} ${scheme}`;
    await page.goto('about:blank');
    await page.goto(home + '#/' + view);
    await page.waitForSelector('.r time');
    if (!await page.locator('.split.open').count()) await page.locator('.r:has(time)').nth(-3).click();
    await until(page, () => document.querySelector('.split.open .side section'), `${name}: nothing opens`);
    await until(page, () => [...document.querySelectorAll('.r:has(time) .t')].every(it => it.clientWidth >= 160), `${name}: no room for words`);
    const cut = await page.locator('.r .badge').evaluateAll(list => list.filter(it => it.getBoundingClientRect().right > it.closest('.r').getBoundingClientRect().right || it.scrollWidth > it.clientWidth + 1).map(it => it.textContent));
    check(!cut.length, `${name}: cuts ${cut}`);
    check(await page.locator('.r[aria-selected=true]').evaluate(it => { const a = it.getBoundingClientRect(), b = it.parentElement.getBoundingClientRect(); return a.bottom > b.top + 4 && a.top < b.bottom - 4; }), `${name}: the opened row is out of sight`);
    if (pictures) await page.screenshot({ path: join(pictures, `${view.split('?')[0]}-${width}-${scheme}.png`) });
  }
  await page.context().close();
}
const sizes = [[1440, 900, 'wide'], [360, 740, 'narrow']];
await Promise.all(sizes.flatMap(it => ['dark', 'light'].map(scheme => look(...it, scheme))));
await Promise.all([beside(1010, 'light'), beside(1100, 'dark'), beside(1250, 'light')]);

// What a person does.
const page = await open(1440, 900, 'dark', 'use');
await page.goto(home + '#/feed');
await page.waitForSelector('.feed .r time');
const nodes = await page.locator('.feed .r').count();
check(nodes < 90, `the feed has ${nodes} nodes`);

// Every answer is written by the system: that is no news.
const from = await page.locator('.feed .r.out .who').allInnerTexts();
check(from.length && from.every(it => !it), `answers come from ${[...new Set(from)]}`);
await page.goto(home + '#/thread/3');
await page.waitForSelector('.bubble.out');
check(!await page.locator('.bubble .badge.note').count(), 'bubbles are marked with where they came from');
await page.goto(home + '#/feed');
await page.waitForSelector('.feed .r time');

// A new message appears at once, and does not move what is being read.
const line = (number, text) => JSON.stringify({ timestamp: Date.now(), key: `tg-${number}`, attempt: 1, messageId: `1_tg${number}`, threadId: 3, channel: 'telegram', direction: 'in', sender: 'Ada', message: text, source: 'user' }) + '\n';
appendFileSync(join(state, 'message-history.jsonl'), line(1, 'this came just now <b>bold</b>\u202e'));
await until(page, () => document.querySelector('.feed').innerText.includes('this came just now <b>bold</b>'), 'a new message does not appear as it stands');
await page.locator('.vlist').hover();
await page.mouse.wheel(0, -600);
await until(page, () => document.querySelector('.end').getAttribute('aria-pressed') === 'true', 'scrolling up does not pause');
const top = await page.locator('.vlist').evaluate(it => it.scrollTop);
appendFileSync(join(state, 'message-history.jsonl'), line(2, 'and this') + line(3, 'and that'));
await until(page, () => document.querySelector('.more:not([hidden])')?.textContent.startsWith('2 new'), '"2 new" does not wait at the edge');
check(Math.abs(await page.locator('.vlist').evaluate(it => it.scrollTop) - top) < 1, 'new rows move what is read');
await page.keyboard.press('G');
await until(page, () => document.querySelector('.feed').innerText.includes('and that'), 'G does not go to the end');

// Nothing falls between the first rows and the stream, and nothing between the stream and the rows of another view.
{
  const page = await open(1440, 900, 'dark', 'between');
  let go;
  const held = new Promise(it => go = it);
  await page.route('**/api/live*', async it => { await held; await it.continue(); });
  await page.goto(home + '#/feed');
  await page.waitForSelector('.feed .r time');
  appendFileSync(join(state, 'message-history.jsonl'), line(4, 'before the stream began'));
  go();
  await until(page, () => document.querySelector('.feed').innerText.includes('before the stream began'), 'a row between the first rows and the stream is lost');
  await page.keyboard.press('6');
  await page.waitForSelector('.chart');
  let isFirst = true;
  const come = await page.evaluate(() => performance.getEntriesByName('row').length);
  await page.route('**/api/messages/recent*', async it => {
    const response = await it.fetch();
    if (isFirst) {
      isFirst = false;
      appendFileSync(join(state, 'message-history.jsonl'), line(5, 'while the rows were under way'));
      await until(page, it => performance.getEntriesByName('row').length > it, 'the stream does not go on', come);
    }
    await it.fulfill({ response });
  });
  await page.keyboard.press('2');
  await until(page, () => document.querySelector('.feed')?.innerText.includes('while the rows were under way'), 'a row is lost while another view opens');
  check(!await page.locator('.toast').count(), 'a whole tail is called broken');
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.context().close();
}

// A row opens with its waterfall, and the address says which.
await page.keyboard.press('k');
await page.keyboard.press('Enter');
await until(page, () => document.querySelector('.side .fall, .side p'), 'Enter opens nothing');
check(/key=tg-/.test(await page.evaluate(() => location.hash)), 'the address does not name the row');
await page.keyboard.press('Escape');
check(!await page.locator('.split.open').count(), 'Escape does not close');

// How full a disk is, is said as df says it, and what is free is not called used.
{
  const page = await open(1440, 900, 'dark', 'full');
  const disk = { total: 100e9, used: 90e9, available: 5e9 };
  for (const path of ['status*', 'metrics']) await page.route('**/api/' + path, async it => {
    const response = await it.fetch(), json = await response.json();
    for (const one of [json.host, json.now, ...(json.samples || [])]) if (one?.cores) one.disk = disk;
    await it.fulfill({ response, json });
  });
  await page.route('**/api/live*', it => it.abort());
  await page.goto(home + '#/system');
  await until(page, () => document.querySelector('#view').innerText.includes('83.8 GB used (95 %) · 4.7 GB free'), 'the disk is not told as df tells it');
  await until(page, () => document.querySelector('#chips').textContent.includes('disk 95 %'), 'a full disk is not told in the top line');
  await page.goto(home + '#/overview');
  await until(page, () => document.querySelector('#view').innerText.includes('83.8 GB (95 %)'), 'the overview tells another share of the disk');
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.context().close();
}

// Search over everything.
await page.keyboard.press('/');
await page.keyboard.type('lane lock');
await until(page, () => /^\d+ hits?$/.test(document.querySelector('.bar [role=status]').textContent) && document.querySelector('.feed mark'), 'search finds nothing');
check(await page.locator('.more').isHidden(), 'hits are called new');
const seen = await page.locator('.feed .r .t').evaluateAll(list => list.every(it => { const mark = it.querySelector('mark'); return mark && mark.getBoundingClientRect().right <= it.getBoundingClientRect().right; }));
check(seen, 'a hit is out of sight in its row');
// What is hidden is counted where it is shown, however often it was asked for.
appendFileSync(join(state, 'message-history.jsonl'), line(6, `two secrets: ghs_${'a'.repeat(36)} and ghs_${'b'.repeat(36)}`));
for (let at = 0; at < 2; at++) {
  await page.goto('about:blank');
  await page.goto(home + '#/feed');
  await until(page, () => document.querySelector('#hidden').textContent === '2 secrets hidden here', 'what is hidden is not counted');
}
await page.goto(home + '#/logs');
await until(page, () => !document.querySelector('#hidden').textContent, 'what is hidden elsewhere is counted here');

// The same in every view with a list: / looks for words on the server, space holds what comes. In a thread / searches that thread.
for (const [view, words] of [['routing', 'static build'], ['prompts', 'broad beans'], ['logs', 'goes to']]) {
  await page.goto('about:blank');
  await page.goto(home + '#/' + view);
  await page.waitForSelector('.r .t');
  await page.keyboard.press('/');
  await page.keyboard.type(words);
  await until(page, it => /^[1-9]\d*\+? hits?$/.test(document.querySelector('.bar [role=status]').textContent) && [...document.querySelectorAll('.r mark')].some(mark => mark.textContent === it), `${view}: search finds nothing`, words);
  check(await page.locator('.r mark').evaluateAll(list => list.every(it => it.getBoundingClientRect().right <= it.closest('.t').getBoundingClientRect().right)), `${view}: a hit is out of sight in its row`);
  await page.keyboard.press('Escape');
  check(await page.locator('#filter').inputValue() === words, `${view}: leaving the field forgets what is looked for`);
  await page.keyboard.press(' ');
  check(await page.locator('.bar .end', { hasText: 'paused' }).count() === 1, `${view}: space does not pause`);
  if (pictures) await page.screenshot({ path: join(pictures, `search-${view}-wide-dark.png`) });
}
await page.goto(home + '#/thread/3');
await page.waitForSelector('.bubble.out');
await page.keyboard.press(' ');
await until(page, () => document.querySelector('.bar .end').textContent === 'paused', 'space does not pause a thread');
const bottom = await page.locator('.scroll').evaluate(it => it.scrollTop);
appendFileSync(join(state, 'message-history.jsonl'), line(7, 'while the thread was held'));
await until(page, () => document.querySelector('.more:not([hidden])')?.textContent.startsWith('1 new'), 'a held thread does not count what is new');
check(await page.locator('.scroll').evaluate(it => it.scrollTop) === bottom, 'a held thread moves');
await page.keyboard.press('/');
await page.keyboard.type('was held');
await until(page, () => document.querySelector('#filter')?.value === 'was held' && /^1 hit$/.test(document.querySelector('.bar [role=status]').textContent), '/ does not search the thread');
check(/^#\/feed\?.*thread=3/.test(await page.evaluate(() => location.hash)), '/ in a thread searches elsewhere');
await page.evaluate(() => document.activeElement.blur());

// From an answer of opus to why, and to its prompt: the question the page is made for.
await page.goto(home + '#/feed?model=opus&direction=out');
await page.waitForSelector('.feed .r.opus');
await page.locator('.feed .r.opus').last().click();
await page.waitForSelector('.side .fall');
check(await page.locator('.side .fall .track u').count() >= 3, 'the waterfall of a finished turn does not show its tools');
const inside = await page.evaluate(() => { const bar = document.querySelector('.side .fall .track:has(u) i').getBoundingClientRect(); return [...document.querySelectorAll('.side .fall u')].every(it => { const at = it.getBoundingClientRect().left; return at >= bar.left - 2 && at <= bar.right + 2; }); });
check(inside, 'a tool stands outside the time Claude worked');
if (pictures) await page.screenshot({ path: join(pictures, 'waterfall-wide-dark.png') });
await page.locator('.side a', { hasText: 'route' }).click();
await until(page, () => document.querySelector('.dims .div i'), 'the dimensions do not appear');
const why = await page.locator('.side').innerText();
for (const word of ['so it is COMPLEX', 'reasoningMarkers', 'opus was asked', 'their sum']) check(why.includes(word), `why does not say ${word}`);
check(await page.locator('.dims .div').count() === 14, 'not fourteen dimensions');
check(await page.locator('.side mark').count() > 0, 'no hit is marked in the text');
// Every bar of the list says how high the score is: they are not all full or all empty.
const bars = await page.locator('.route .r .sc').evaluateAll(list => list.map(it => Number(it.style.getPropertyValue('--v'))));
check(bars.some(it => it > .05 && it < .95), `the scores of the list are all at an end: ${bars}`);
const labels = await page.locator('.scale .zone span').evaluateAll(list => list.filter(it => it.offsetWidth > it.parentElement.offsetWidth).map(it => it.textContent));
check(!labels.length, `${labels} is wider than its zone`);
await accessible(page, 'why');
if (pictures) await page.screenshot({ path: join(pictures, 'why-wide-dark.png') });
await page.locator('.side a', { hasText: 'prompt' }).click();
await until(page, () => document.querySelector('.parts'), 'the prompt does not appear');
await page.locator('.side button', { hasText: 'compare with the one before' }).click();
await until(page, () => document.querySelector('.diff'), 'no difference is shown');
check(await page.locator('.diff .fold').count() > 0, 'what is alike is not folded');
if (pictures) await page.screenshot({ path: join(pictures, 'diff-wide-dark.png') });
await page.locator('.diff .fold').first().click();
await accessible(page, 'difference');

// An address names the same thing when another dashboard, which numbers the rows otherwise, opens it.
const side = async () => (await page.locator('.side').innerText()).replace(/\s+/g, ' ').slice(0, 400);
for (const view of ['feed?direction=in', 'feed?direction=out', 'routing', 'prompts', 'diff']) {
  await page.goto('about:blank');
  await page.goto(before + '#/' + (view === 'diff' ? 'prompts' : view));
  await page.waitForSelector('.r time');
  await page.locator('.r:has(time)').nth(-4).click();
  const ready = view === 'diff' ? '.diff' : view.startsWith('feed') ? '.side .fall' : '.side section';
  if (view !== 'diff') await page.waitForSelector(ready);
  else { await page.locator('.side button', { hasText: 'compare with the one before' }).click(); await page.waitForSelector(ready); }
  const hash = await page.evaluate(() => location.hash), said = await side();
  await page.goto('about:blank');
  await page.goto(home + hash);
  await page.waitForSelector(ready);
  const again = await side();
  check(again.slice(0, 200) === said.slice(0, 200), `${hash} shows ${again}, and showed ${said}`);
}
// Whatever an address says, a view appears and nothing is thrown. (The server refuses some of the names, which the console tells.)
const odd = await open(1280, 800, 'dark', 'strange');
for (const strange of ['constructor', '__proto__', 'toString', 'thread/%', 'thread/%E0%A4', 'thread/constructor', 'routing?sort=constructor', 'routing?sort=toString', 'feed?thread=__proto__', 'logs?log=constructor', 'prompts?key=%00']) {
  await odd.goto('about:blank');
  await odd.goto(home + '#/' + strange);
  await until(odd, () => document.querySelector('#view').childElementCount && document.querySelector('#line').textContent === 'live', `#/${strange} shows nothing`);
}
await odd.context().close();

// A search that is over is not drawn any more, however quickly it is begun and left.
for (let at = 0; at < 5; at++) {
  await page.goto(home + '#/feed?q=lane%20lock');
  await page.waitForSelector('.feed mark');
  // The line comes while hits are shown, and the drawing that it asks for comes when they no longer are.
  await page.evaluate(() => { location.hash = '#/feed?q=lane'; setTimeout(() => { location.hash = '#/feed'; }, 30); setTimeout(() => { location.hash = '#/logs'; }, 60); });
  await until(page, () => document.querySelector('.logl'), 'the logs do not follow on a search');
}

await page.goto('about:blank');
await page.goto(home + '#/feed?row=-3&boot=another');
await until(page, () => document.querySelector('.toast')?.textContent.includes('started anew'), 'a number of another dashboard is taken for one of this');
check(!await page.locator('.split.open').count(), 'a number of another dashboard opens a row');

// Whatever waits or runs can be looked at: from the overview, and from the number in each folder.
await page.goto('about:blank');
await page.goto(home + '#/overview');
await page.locator('.turn').first().click();
await until(page, () => /working/.test(document.querySelector('.side')?.innerText) && document.querySelector('.side').innerText.includes('Two tests fail in claim.rs'), 'a turn that runs does not show how far it is');
check((await page.locator('.side').innerText()).includes('Now in processing/'), 'a turn that runs does not say where it is');
if (pictures) await page.screenshot({ path: join(pictures, 'running-wide-dark.png') });
for (const [tile, words, told] of [['incoming', 'Collect what every desk did', 'in its lane'], ['waiting retries', 'Make the headline shorter', 'Tried once'], ['outgoing', 'The lane lock', 'to be sent'], ['dead', 'Please move the page', 'refused five times']]) {
  await page.goto(home + '#/overview');
  await page.locator('.flow a', { hasText: tile }).click();
  await page.locator('.feed .r', { hasText: words }).last().click({ timeout: 5000 }).catch(() => check(false, `${tile} does not list what is in it`));
  await until(page, it => document.querySelector('.side')?.innerText.includes(it), `what waits in ${tile} does not say ${told}`, told);
}
const waiting = await page.evaluate(() => location.hash.replace(/place=[^&]*&?/, ''));
await page.goto('about:blank');
await page.goto(home + waiting);
await until(page, () => document.querySelector('.side')?.innerText.includes('Please move the page'), 'the address of what waits opens nothing');

// What if.
await page.goto(home + '#/routing?whatif=1');
await page.waitForSelector('.what input');
const sliders = await page.locator('.what input').evaluateAll(list => list.map(it => [it.id, (it.value - it.min) / (it.max - it.min)]));
check(sliders.length === 17, `${sliders.length} sliders`);
for (const [id, at] of sliders) check(at > .05 && at < .95, `${id} stands at its end`);
const changes = words => until(page, () => /^[1-9]\d* of \d+ decisions would change/.test(document.querySelector('.side section:last-child h2')?.textContent || ''), words);
await page.locator('#w-complex-from').focus();
for (let at = 0; at < 40; at++) await page.keyboard.press('ArrowRight');
await changes('another boundary changes nothing');
await page.locator('.side button', { hasText: 'as they are' }).click();
await until(page, () => document.querySelector('.side section:last-child h2')?.textContent.startsWith('0 of'), 'what is does not come back');
await page.locator('#w-reasoningMarkers').focus();
for (let at = 0; at < 60; at++) await page.keyboard.press('ArrowLeft');
await changes('another weight changes nothing');
await accessible(page, 'what if');
if (pictures) await page.screenshot({ path: join(pictures, 'whatif-wide-dark.png') });

// What the models cost.
await page.goto(home + '#/routing?costs=1');
await page.waitForSelector('.side .chart rect');
const told = await page.locator('.side table').innerText();
for (const word of ['today', '7 days', '30 days', 'Claude charged', 'always haiku', 'always opus', 'decided again', 'turns that lost'])
  check(told.includes(word), `costs do not say ${word}`);
check(await page.locator('.side .chart').count() === 2, 'there are no charts by model and by desk');
check(await page.locator('.side .chart rect').evaluateAll(list => list.every(it => it.getBoundingClientRect().height > 0)), 'a bar has no height');
await accessible(page, 'costs');
if (pictures) await page.screenshot({ path: join(pictures, 'costs-wide-dark.png') });
await page.locator('.bar button', { hasText: 'what if' }).click();
await page.waitForSelector('.what input');
check(await page.locator('.bar button', { hasText: 'costs' }).getAttribute('aria-pressed') === 'false', 'costs stay pressed');

// Events: what anybody told is text, ten thousand of them are a list like any other, and what is asked for is what is shown.
for (const [width, size] of [[1440, 'wide'], [360, 'narrow']]) {
  const page = await open(width, 800, 'dark', `events ${size}`), name = `events ${size}`;
  await page.goto(home + '#/events');
  await page.waitForSelector('.eventl .r time');
  check(await page.locator('.eventl .r').count() < 90, `${name}: too many nodes`);
  const said = await page.locator('.eventl').innerText();
  for (const word of ['x.</script><b>bold', '<img src=x onerror=alert(1)>']) check(said.includes(word), `${name}: ${word} is not shown as it stands`);
  check(await page.locator('.eventl img, .eventl .r b').count() === 0, `${name}: what was told became markup`);
  check(await page.locator('.eventl .r').evaluateAll(list => list.every(it => it.scrollWidth <= it.clientWidth + 1)), `${name}: a row is wider than its list`);
  await page.locator('.eventl .r', { hasText: 'onerror' }).click();
  await page.waitForSelector('.side pre');
  check((await page.locator('.side pre').innerText()).includes('"polluted": true'), `${name}: an event is not told whole`);
  check(await page.evaluate(() => ({}).polluted === undefined), `${name}: what was told changed the page`);
  check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector('.side').scrollWidth <= document.querySelector('.side').clientWidth + 1), `${name}: an event is wider than the window`);
  await accessible(page, name);
  if (pictures) await page.screenshot({ path: join(pictures, `events-hostile-${size}-dark.png`) });
  const named = await page.evaluate(() => location.hash);
  check(/key=k7q2-9998/.test(named), `${name}: the address does not name the event`);
  await page.goto('about:blank');
  await page.goto(home + named);
  await until(page, () => document.querySelector('.side pre')?.innerText.includes('"polluted"'), `${name}: the address of an event opens nothing`);
  await page.keyboard.press('Escape');
  await until(page, () => !document.querySelector('.split.open') && document.querySelector('.eventl .r time'), `${name}: the list does not come back`);
  // Scrolling to the beginning asks for what is older, until nothing is. Fifty pages are enough at one width.
  const first = () => page.evaluate(() => { document.querySelector('.vlist').scrollTop = 0; return document.querySelector('.bar [role=status]').innerText; });
  for (let at = 0; at < (size === 'wide' ? 60 : 2); at++) {
    const had = await first();
    if (had.startsWith('10,000 of')) break;
    await until(page, it => document.querySelector('.bar [role=status]').innerText !== it, `${name}: the past does not come`, had);
  }
  await first();
  if (size === 'wide') await until(page, () => document.querySelector('.eventl').innerText.includes('{"step":1}') && document.querySelector('.bar [role=status]').innerText.startsWith('10,000 of'), `${name}: the first event is out of reach`);
  await page.context().close();
}
await page.goto(home + '#/events?q=claude.');
await until(page, () => document.querySelectorAll('.eventl .r time').length === 3, 'a type does not narrow the events');
await page.locator('.bar select[aria-label=Source]').selectOption('laptop');
await page.locator('#filter').fill('claude.Post');
await until(page, () => document.querySelectorAll('.eventl .r time').length === 1 && /source=laptop/.test(location.hash), 'a source and a type do not narrow the events');
await page.locator('.eventl .r').first().click();
await page.locator('.side a', { hasText: 'all about it' }).click();
await until(page, () => document.querySelectorAll('.eventl .r time').length === 2 && [...document.querySelectorAll('.bar button')].some(it => it.textContent === 'about toolu_1 ✕'), 'what is about one thing is not shown alone');
// The hooks of a turn stand on its waterfall, and a message's timeline opens from wherever its key stands.
await page.goto(home + `#/feed?key=${answered}`);
await until(page, () => document.querySelectorAll('.side .fall .track b').length === 3, 'the hooks of a turn are not on its waterfall');
if (pictures) await page.screenshot({ path: join(pictures, 'hooks-wide-dark.png') });
await page.locator('.side .fall a', { hasText: 'hooks' }).click();
await until(page, () => /#\/events\?session=s1/.test(location.hash) && document.querySelector('.eventl .r time'), 'the hooks of a turn lead nowhere');
for (const from of ['events?q=tinyclaw.', 'routing', 'prompts', 'thread/3', 'logs?q=goes to']) {
  await page.goto('about:blank');
  await page.goto(home + '#/' + from);
  await page.waitForSelector(from.startsWith('thread') ? '.bubble.out' : '.r .t');
  if (!from.startsWith('thread')) await page.locator('.r:has(.t)').last().click();
  await page.locator('a', { hasText: 'timeline' }).last().click();
  await until(page, () => location.hash.startsWith('#/feed') && document.querySelector('.side .fall'), `${from}: the timeline does not open`);
}
// Nothing there yet is said, with the way on.
for (const [name, words] of [['no events', 'No event was told yet'], ['no gateway', 'no gateway has kept events']]) {
  const page = await open(360, 740, 'dark', name);
  if (name === 'no gateway') await page.route('**/api/events*', it => it.fulfill({ status: 404, json: { error: 'no gateway has kept events here yet' } }));
  await page.goto(empty + '#/events');
  await until(page, it => document.querySelector('.eventl .empty')?.innerText.includes(it), `${name}: it is not said`, words);
  await accessible(page, name);
  if (pictures) await page.screenshot({ path: join(pictures, `events-${name.replace(' ', '-')}-narrow-dark.png`) });
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.context().close();
}

// The keys lead everywhere, and the choice of colours is kept.
await page.evaluate(() => document.activeElement.blur());
for (const [at, view] of Object.keys(views).entries()) {
  await page.keyboard.press(String(at + 1));
  await until(page, it => document.querySelector('[aria-current]')?.id === 'tab-' + it, `key ${at + 1} does not lead to ${view}`, view);
}
await page.keyboard.press('?');
check(await page.locator('dialog[open]').count() === 1, '? does not tell the keys');
await accessible(page, 'keys');
await page.keyboard.press('Escape');
await page.locator('#theme').click();
await page.locator('#theme').click();
await page.reload();
check(await page.evaluate(() => document.documentElement.dataset.theme) === 'light', 'the choice of colours is forgotten');

await browser.close();
if (wrong.length) process.exit(1);
console.log('all views work');
