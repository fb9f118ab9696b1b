// How html-validate reads the pages: all that it recommends, but for what is a matter of style.
export default {
  root: true,
  extends: ["html-validate:recommended"],
  rules: {},
};
