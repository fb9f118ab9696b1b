// Reads pages of HTML as a JSON object {path: text} and prints what html-validate has to say of them, as a JSON
// array of sentences. Its command line would need a newer Node.js than Debian's; its library does not.
import { readFileSync } from "node:fs";
import { HtmlValidate, StaticConfigLoader } from "html-validate";

// All that it recommends.
const config = {
  root: true,
  extends: ["html-validate:recommended"],
  // HTML knows no case here; ours is that of the tags.
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
