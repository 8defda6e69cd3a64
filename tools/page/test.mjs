// Drives the report.html of a results folder in headless Chromium: node test.mjs REPORT.html FOLDER_FOR_PICTURES
// No error, no request, sorting, filters, keyboard, contrast in both schemes, narrow screens, paper, and 5,000 trials.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [report, pictures] = process.argv.slice(2).map((name) => path.resolve(name));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(pictures, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

/** A page of the report; whatever it says or asks of the network is an error. */
async function open(file, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => request.url().startsWith("file:") || problems.push(`request of ${request.url()}`));
  await page.goto(pathToFileURL(file).href);
  return { page, problems, close: () => context.close() };
}

const tests = [];
const test = (name, body) => tests.push([name, body]);
const columns = (page) => page.$$eval("#rows thead th", (cells) => cells.map((cell) => cell.textContent));
const column = async (page, name) => {
  const index = (await columns(page)).findIndex((text) => text.startsWith(name));
  assert(index >= 0, name);
  return page.$$eval("#rows tbody tr", (rows, index) => rows.map((row) => row.cells[index].textContent), index);
};
const number = (text) => Number.parseFloat(text.replace("\u2212", "-"));
const all = (page) => page.click("#filters button");

test("the answer comes first, with its figure", async () => {
  const { page, problems, close } = await open(report);
  assert((await page.$$("#answer .sentences p")).length >= 1);
  assert((await page.textContent("#answer .sentences")).trim().length > 40);
  assert.equal((await page.$$("#answer figure svg[role=img]")).length, 1);
  assert((await page.$$("#figures figure")).length > 0);
  for (const figure of await page.$$("main figure")) assert((await figure.$eval("pre", (pre) => pre.textContent)).includes(","));
  assert.deepEqual(problems, []);
  await close();
});

test("rows are sorted by a click, and back by another", async () => {
  const { page, close } = await open(report);
  await all(page);
  for (const name of ["achieved", "value"]) {
    const head = page.locator("#rows thead th", { hasText: name }).first();
    await head.locator("button").click();
    assert.equal(await head.getAttribute("aria-sort"), "descending");
    const values = (await column(page, name)).map(number);
    await head.locator("button").click();
    assert.equal(await head.getAttribute("aria-sort"), "ascending");
    const up = (await column(page, name)).map(number);
    if (name === "achieved") {
      for (let i = 1; i < up.length; i++) assert(up[i - 1] <= up[i], `${up}`);
      for (let i = 1; i < values.length; i++) assert(values[i - 1] >= values[i], `${values}`);
    }
    assert.equal(await page.locator("#rows thead th[aria-sort]").count(), 1);
  }
  await close();
});

test("filters leave the rows that they name", async () => {
  const { page, close } = await open(report);
  await all(page);
  const whole = await page.textContent("#count");
  for (const [label, name] of [["Model", "model"], ["Strategy", "strategy"], ["Protocol", "protocol"], ["Task", "task"], ["Reduction asked for", "asked"]]) {
    const box = page.getByLabel(label, { exact: true });
    const options = await box.locator("option").allTextContents();
    assert(options.length > 0, label);
    if (options.length < 2) continue;
    const last = options[options.length - 1];
    await box.selectOption({ label: last });
    const shown = await column(page, name);
    assert(shown.length > 0 && shown.every((text) => text === last), `${label}: ${shown}`);
    await all(page);
    assert.equal(await page.textContent("#count"), whole);
  }
  await close();
});

test("the keyboard reaches everything", async () => {
  const { page, problems, close } = await open(report);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).hash, "#answer");
  await page.locator("#rows thead th button").first().focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#rows thead th").first().getAttribute("aria-sort"), "ascending");
  await page.getByLabel("Protocol", { exact: true }).focus();
  await page.keyboard.press("End");
  assert(await page.getByLabel("Protocol", { exact: true }).inputValue());
  const merged = page.locator("#shown s.m").first();
  if (await merged.count()) {
    await merged.focus();
    assert.equal(await page.locator("#items .into").count(), 1);
    assert.match(await merged.getAttribute("aria-label"), /merged into token/);
  }
  assert.deepEqual(problems, []);
  await close();
});

test("items are shown under two arms", async () => {
  const { page, problems, close } = await open(report);
  assert.match(await page.textContent("#lost"), /Of \d+ items B loses \d+/);
  await page.getByLabel("Show", { exact: true }).selectOption({ label: "all items of this page" });
  const scenes = await page.getByLabel("Model, protocol, task", { exact: true }).locator("option").count();
  let struck = 0;
  for (let scene = 0; scene < scenes; scene++) {
    await page.getByLabel("Model, protocol, task", { exact: true }).selectOption({ index: scene });
    const arms = await page.getByLabel("Arm B", { exact: true }).locator("option").count();
    for (let arm = 0; arm < arms; arm++) {
      await page.getByLabel("Arm B", { exact: true }).selectOption({ index: arm });
      assert((await page.locator(".item").count()) > 0);
      struck += await page.locator(".item s").count();
      const numbers = await page.locator(".item").first().locator("tbody td.n").allTextContents();
      assert(numbers.length >= 2 && numbers.every((text) => Number.isFinite(number(text))), `${numbers}`);
    }
  }
  assert(struck > 0, "nothing is struck out");
  assert.deepEqual(problems, []);
  await close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing, ${colorScheme}`, async () => {
    const { page, problems, close } = await open(report, { colorScheme });
    await page.getByLabel("Show", { exact: true }).selectOption({ label: "all items of this page" });
    for (const details of await page.$$("details")) await details.evaluate((one) => (one.open = true));
    await page.evaluate(axe);
    const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    const violations = found.violations.map((rule) => `${rule.id}: ${rule.help}: ${rule.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + " " + node.failureSummary).join(" | ")}`);
    assert.deepEqual(violations, []);
    assert.deepEqual(problems, []);
    await close();
  });
}

test("a narrow screen does not scroll sideways", async () => {
  const { page, close } = await open(report, { viewport: { width: 390, height: 800 } });
  assert((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  await close();
});

test("5,000 trials are usable", async () => {
  const html = readFileSync(report, "utf8");
  const mark = '<script type="application/json" id="data">';
  const start = html.indexOf(mark) + mark.length, end = html.indexOf("</script>", start);
  const data = JSON.parse(html.slice(start, end));
  const own = data.rows.r;
  data.rows.r = Array.from({ length: 45000 }, (_, index) => own[index % own.length].map((value, place) => (place === 9 ? value + index / 1e6 : value)));
  const large = path.join(pictures, "large.html");
  writeFileSync(large, html.slice(0, start) + JSON.stringify(data).replaceAll("<", "\\u003c") + html.slice(end));
  const began = Date.now();
  const { page, problems, close } = await open(large);
  const loaded = Date.now() - began;
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  console.log(`   first paint ${paint.toFixed(0)} ms, loaded ${loaded} ms`);
  assert(paint < 2000, `first paint after ${paint} ms`);
  await all(page);
  const took = await page.evaluate(() => {
    const begun = performance.now();
    document.querySelector("#rows thead th:nth-child(2) button").click();
    return performance.now() - begun;
  });
  console.log(`   45,000 rows sorted in ${took.toFixed(0)} ms`);
  assert(took < 1000, `sorted in ${took} ms`);
  assert(await page.isVisible("#more"));
  assert.deepEqual(problems, []);
  await close();
});

test("pictures", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const { page, close } = await open(report, { colorScheme });
    await page.screenshot({ path: path.join(pictures, `${colorScheme}.png`) });
    for (const part of ["results", "items", "provenance"]) {
      await page.locator(`#${part}`).scrollIntoViewIfNeeded();
      await page.locator(`#${part}`).evaluate((element) => element.scrollIntoView());
      await page.waitForTimeout(300);
      await page.screenshot({ path: path.join(pictures, `${colorScheme}-${part}.png`) });
    }
    await close();
  }
  const { page, close } = await open(report, { viewport: { width: 390, height: 800 } });
  await page.screenshot({ path: path.join(pictures, "narrow.png") });
  await page.locator("#items").evaluate((element) => element.scrollIntoView());
  await page.waitForTimeout(300);
  await page.screenshot({ path: path.join(pictures, "narrow-items.png") });
  await page.pdf({ path: path.join(pictures, "print.pdf"), format: "A4", printBackground: true });
  await close();
});

let failed = 0;
for (const [name, body] of tests) {
  try {
    await body();
    console.log(`ok  ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
await browser.close();
process.exit(failed ? 1 : 0);
