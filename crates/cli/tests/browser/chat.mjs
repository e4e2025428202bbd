// Drives the web chat in Chromium.
//   node chat.mjs GATEWAY TOKEN LOGIN
// DRIVER is the folder with playwright-core.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [gateway, token, login] = process.argv.slice(2);
const require = createRequire(join(process.env.DRIVER, 'x.js'));
const { chromium } = require('playwright-core');
const flags = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
const check = (it, words) => { if (!it) { console.log('wrong:', words); process.exit(1); } };
const context = await browser.newContext();
const noise = [];
async function open(address) {
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  page.on('pageerror', it => noise.push(it.message));
  page.on('dialog', it => { noise.push('a dialog: ' + it.message()); it.dismiss(); });
  // What the browser says of a refused request is no mistake of the page; of its policy it is one.
  page.on('console', it => { if (it.type() === 'error' && !it.text().startsWith('Failed to load resource')) noise.push(it.text()); });
  await page.goto(address);
  return page;
}
const seen = (page, text) => page.locator('#log', { hasText: text }).waitFor().catch(() => check(false, 'not seen: ' + text));
const write = async (page, text) => { await page.fill('#prompt', text); await page.press('#prompt', 'Enter'); };
const idle = page => page.locator('#stop').waitFor({ state: 'hidden' }).catch(() => check(false, 'something still runs'));

// Nobody is let in without a token, and a bad one is refused in words.
let page = await open(gateway + '/');
await page.fill('#token', 'tc_bad_token');
await page.press('#token', 'Enter');
await page.locator('#why', { hasText: 'unknown' }).waitFor();
check(await page.locator('main').isHidden(), 'the chat is shown to a stranger');
await page.close();

// The address that `tinyclaw token login` printed logs in, once.
page = await open(login);
await page.locator('#env option', { hasText: 'dev' }).waitFor({ state: 'attached' });
check(!page.url().includes('tk_'), 'the ticket stays in the address: ' + page.url());
await page.close();
page = await open(login);
await page.locator('#why', { hasText: 'used already' }).waitFor();
await page.close();

// A token in the address logs in, and is gone from there.
page = await open(gateway + '/#' + token);
await page.locator('#env option', { hasText: 'dev' }).waitFor({ state: 'attached' });
check(!page.url().includes('tc_'), 'the token stays in the address: ' + page.url());

// What Claude says is text.
await write(page, '[demo: say hello <img src=x onerror=alert(1)> browser]');
await seen(page, 'hello <img src=x onerror=alert(1)> browser');
await idle(page);
check(await page.locator('#log img').count() === 0, 'an answer became markup');
const chat = page.url();
check(/#\/dev\/[a-z0-9]+$/.test(chat), 'the chat has no address: ' + chat);

// A file goes with a message, and one comes with the answer.
await page.setInputFiles('#pick', { name: 'numbers.csv', mimeType: 'text/csv', buffer: Buffer.from('1,2') });
await page.locator('#added', { hasText: 'numbers.csv' }).waitFor();
await write(page, '[demo: write report.txt 12 passed] [demo: call send_file {"path":"report.txt"}]');
const file = page.locator('#log button.file', { hasText: 'report.txt' });
await file.waitFor().catch(() => check(false, 'no file came'));
check(await page.locator('#added').isHidden(), 'the file is still to be sent');
const [download] = await Promise.all([page.waitForEvent('download'), file.click()]);
const parts = [];
for await (const part of await download.createReadStream()) parts.push(part);
check(download.suggestedFilename() === 'report.txt' && Buffer.concat(parts).toString() === '12 passed\n', 'another file came');
await idle(page);

// A question is shown and answered.
await write(page, '[demo: ask] [demo: say it was asked]');
await page.locator('.ask button', { hasText: 'Allow' }).first().click().catch(() => check(false, 'nothing was asked'));
await page.locator('.ask').waitFor({ state: 'detached' });
await idle(page);

// What hangs is stopped.
await write(page, '[demo: hang]');
await page.locator('#stop').click();
await idle(page);

// Somebody leaves in the middle of an answer, comes back, and finds the rest, and what was said before.
await write(page, '[demo: slow 4s] [demo: say the rest of it]');
await page.locator('#stop').waitFor();
await page.close();
page = await open(gateway + '/#' + token);
await page.evaluate(it => { location.href = it; }, chat);
await seen(page, '[demo: slow 4s]');
await seen(page, 'hello <img src=x onerror=alert(1)> browser');
await page.locator('#log p.said', { hasText: /^the rest of it$/ }).waitFor().catch(() => check(false, 'the rest did not come'));
await idle(page);
check(await page.locator('#log p.said', { hasText: /^the rest of it$/ }).count() === 1, 'the rest is there twice');

// On a phone.
await page.setViewportSize({ width: 360, height: 640 });
const width = await page.evaluate(() => document.documentElement.scrollWidth);
check(width <= 360, 'the page is ' + width + ' wide');
await page.click('#menu');
await page.locator('#chats button[aria-current=true]').waitFor();
await page.locator('#chats button', { hasText: 'New chat' }).click();
await page.locator('#title', { hasText: 'New chat' }).waitFor();
check(await page.locator('#log article').count() === 0, 'a new chat is not empty');

// Out again: nothing of it is left in the tab.
await page.click('#leave');
await page.locator('#login').waitFor();
check(await page.evaluate(() => sessionStorage.length) === 0, 'the token is still in the tab');
check(noise.length === 0, noise.join('\n'));
console.log('the chat did everything');
await browser.close();
process.exit(0);
