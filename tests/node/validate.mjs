// Reads pages of HTML as a JSON object {path: text} and prints the messages of html-validate about them, as a
// JSON array. Its command line needs a newer Node.js than Debian's; its library does not.
import { readFileSync } from "node:fs";
import { HtmlValidate, StaticConfigLoader } from "html-validate";

// All recommended rules.
const config = {
  root: true,
  extends: ["html-validate:recommended"],
  // HTML ignores case here; we use that of the tags.
  rules: { "doctype-style": ["error", { style: "lowercase" }] },
};

const validator = new HtmlValidate(new StaticConfigLoader(config));
const found = [];
for (const [path, text] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  const { results } = await validator.validateString(text, path);
  for (const { messages } of results) {
    for (const { line, ruleId, message } of messages) found.push(`${path}:${line} ${ruleId}: ${message}`);
  }
}
process.stdout.write(JSON.stringify(found));
