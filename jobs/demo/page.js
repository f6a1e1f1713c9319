// What the page does when a picture is chosen, dropped or pasted.

let latest = 0; // a new picture ends the work on the one before

function say(text, failed = false) {
  find("status").textContent = text;
  find("status").classList.toggle("failed", failed);
}

function makeButton(label, chance) {
  const [button, name, bar, share] = ["button", "bdi", "meter", "span"].map((tag) => document.createElement(tag));
  button.type = "button";
  name.textContent = facts.classes[label];
  bar.value = chance;
  share.textContent = percent(chance);
  button.append(name, bar, share);
  return button;
}

// Lists the likeliest classes; returns the first. `choose` is told which of them is selected.
function list(chances, choose) {
  const best = [...chances.keys()].sort((one, other) => chances[other] - chances[one]).slice(0, facts.most);
  const buttons = best.map((label) => makeButton(label, chances[label]));
  const press = (pressed) => buttons.forEach((each, at) => each.setAttribute("aria-pressed", at === pressed));
  buttons.forEach((button, at) => button.addEventListener("click", () => {
    press(at);
    choose(best[at]);
  }));
  press(0);
  find("chances").replaceChildren(...buttons.map((button) => {
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  return best[0];
}

async function show(file, turn) {
  const ask = await model;
  say(`Reading ${file.name}...`);
  await breathe();
  const planes = toPlanes(toSquare(await decode(file), facts.size, facts), facts.channels);
  const [chances] = await ask(planes);
  if (turn !== latest) return;
  const answer = { planes, chances, covered: null };
  let chosen = list(chances, (label) => {
    chosen = label;
    if (answer.covered) drawMap(answer, label);
  });
  for (const name of ["seen", "map"]) draw(find(name), planes);
  find("answer").hidden = find("progress").hidden = false;
  find("scale").hidden = true;
  find("regions").textContent = "";
  say(`\u2068${facts.classes[chosen]}\u2069 ${percent(chances[chosen])}`);
  answer.covered = await occlude(ask, planes, () => turn === latest);
  if (!answer.covered) return;
  find("progress").hidden = true;
  drawMap(answer, chosen);
}

function take(files) {
  const file = files?.[0];
  if (!file) return;
  const turn = ++latest;
  show(file, turn).catch((error) => {
    if (turn !== latest) return;
    find("answer").hidden = true;
    say(`${file.name}: ${error.message}`, true);
  });
}

const model = load();
model.then(
  () => { if (!latest) say("Ready."); },
  (error) => say(`The model cannot run in this browser: ${error.message}`, true),
);
facts.colours.forEach((colour, at) => {
  const pen = find("ramp").getContext("2d");
  pen.fillStyle = `rgb(${colour.join(",")})`;
  pen.fillRect(at, 0, 1, 1);
});
find("file").addEventListener("change", ({ target }) => {
  take([...target.files]);
  target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => take(event.clipboardData?.files));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer?.files);
  });
}
