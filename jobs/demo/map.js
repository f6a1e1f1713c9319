// Occlusion: how much the chance of a class falls when one region after the other is covered, as in the report.

const AT_ONCE = Math.max(1, Math.min(16, Math.floor(65536 / (facts.size * facts.size))));
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const breathe = () => new Promise((resume) => { setTimeout(resume, 0); });

function cover(pixels, start, [top, bottom, left, right]) {
  for (let channel = 0; channel < facts.channels; channel++) {
    for (let row = top; row < bottom; row++) {
      const begin = start + (channel * facts.size + row) * facts.size;
      pixels.fill(facts.cover, begin + left, begin + right);
    }
  }
}

// Returns the chances for each covered region, or null if `goesOn` says that nobody waits for them any more.
async function occlude(ask, planes, goesOn) {
  const found = [];
  for (let start = 0; start < facts.patches.length; start += AT_ONCE) {
    const some = facts.patches.slice(start, start + AT_ONCE), pixels = new Uint8Array(some.length * count);
    some.forEach((patch, at) => {
      pixels.set(planes, at * count);
      cover(pixels, at * count, patch);
    });
    found.push(...await ask(pixels));
    find("progress").value = found.length / facts.patches.length;
    await breathe();
    if (!goesOn()) return null;
  }
  return found;
}

// The value at a pixel, between those of the nearest regions: bilinear, from centre to centre.
function between(values, pixel) {
  const side = facts.spots, place = (at) => Math.max(0, ((at + 0.5) * side) / facts.size - 0.5);
  const down = place(Math.floor(pixel / facts.size)), across = place(pixel % facts.size);
  const row = Math.floor(down), column = Math.floor(across), right = Math.min(column + 1, side - 1);
  const mix = (one, other, share) => one * (1 - share) + other * share;
  const line = (at) => mix(values[at * side + column], values[at * side + right], across - column);
  return mix(line(row), line(Math.min(row + 1, side - 1)), down - row);
}

function drawMap({ planes, chances, covered }, label) {
  const falls = covered.map((each) => chances[label] - each[label]);
  const values = Array.from({ length: facts.size ** 2 }, (_, pixel) => between(falls, pixel));
  const change = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const top = Math.max(change, facts.faint), empty = change < facts.faint;
  draw(find("map"), planes, (pixel, colour) => {
    const place = Math.floor(((values[pixel] + top) / (2 * top)) * 256);
    const heat = facts.colours[Math.min(255, Math.max(0, place))];
    return colour.map((value, at) => Math.floor(value * (1 - facts.overlay) + heat[at] * facts.overlay));
  });
  find("scale").hidden = empty;
  find("rises").textContent = `rises by ${percent(top)}`;
  find("falls").textContent = `falls by ${percent(top)}`;
  const name = document.createElement("bdi");
  name.textContent = facts.classes[label];
  const [before, after] = empty ? ["Covering changes the chance of ", " nowhere."] : ["How covering changes the chance of ", ""];
  find("regions").replaceChildren(before, name, after);
}
