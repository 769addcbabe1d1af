// A browser that obeys a test: each line of the input is a command in JSON, each line of the output its answer.
//   node browser.mjs EXECUTABLE
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: process.argv[2], args: ["--no-sandbox"] });
let context, page, problems;

const commands = {
  // Opens a file in a fresh window; from then on, what the page does wrong is collected.
  async open({ path, width, height, scheme, scripts }) {
    await context?.close();
    context = await browser.newContext({
      viewport: { width, height },
      colorScheme: scheme,
      javaScriptEnabled: scripts,
      reducedMotion: "reduce",
    });
    page = await context.newPage();
    problems = [];
    const own = pathToFileURL(path).href;
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) problems.push("console: " + message.text());
    });
    page.on("pageerror", (error) => problems.push("error: " + error.message));
    page.on("request", (request) => {
      const url = request.url();
      if (url.split("#")[0] !== own && !url.startsWith("data:")) problems.push("request: " + url.slice(0, 200));
    });
    await page.goto(own);
  },
  problems: async () => problems,
  evaluate: ({ script }) => page.evaluate(script),
  click: ({ selector }) => page.locator(selector).first().click({ timeout: 5000 }),
  press: ({ key }) => page.keyboard.press(key),
  move: ({ x, y }) => page.mouse.move(x, y),
  fill: ({ selector, value }) => page.locator(selector).fill(value, { timeout: 5000 }),
  // Violations of WCAG 2.1 A and AA and of axe's best practices: the rule, and what breaks it.
  async axe() {
    await page.evaluate(axe);
    const found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return found.violations.flatMap((rule) => rule.nodes.map((node) => rule.id + ": " + node.html.slice(0, 200)
      + " (" + node.any.concat(node.all).map((check) => check.message).join(" ") + ")"));
  },
  screenshot: ({ path, whole }) => page.screenshot({ path, fullPage: whole }).then(() => null),
  // The page as a printer gets it; answers with the number of sheets.
  async print({ path }) {
    const pdf = await page.pdf({ path, preferCSSPageSize: true });
    return pdf.toString("latin1").match(/\/Type\s*\/Page\b/g).length;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...values } = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await commands[command](values)) ?? null };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
