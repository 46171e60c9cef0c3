"use strict";

const form = document.getElementById("ask");
const answers = document.getElementById("answers");
const state = document.getElementById("state");
const button = form.querySelector("[type=submit]");
let asked = 0;

/** An element with attributes and children; texts become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const percent = (score) => (100 * score).toFixed(1) + " %";

/** Rows of a name and a score, with a bar as long as a score of 0 to 1. */
function rows(items) {
  const list = make("ul", { class: "rows" });
  for (const [name, score] of items) {
    const bar = make("span", { class: "bar" });
    bar.style.width = 100 * Math.min(1, Math.max(0, score)) + "%";
    list.append(
      make("li", {}, make("span", { class: "name" }, bar, name), make("span", { class: "score" }, percent(score))),
    );
  }
  return list;
}

/** The text cut at the borders, where neighbours of one kind stay together: [text, kind, start]. */
function pieces(characters, borders, kindAt) {
  const places = [...new Set([0, ...borders])].filter((place) => place < characters.length).sort((a, b) => a - b);
  const found = [];
  places.forEach((start, n) => {
    const text = characters.slice(start, places[n + 1]).join("");
    const kind = kindAt(start);
    if (found.length && found.at(-1)[1] === kind) found.at(-1)[0] += text;
    else found.push([text, kind, start]);
  });
  return found;
}

const has = (span, place) => span && span.start <= place && place < span.end;

const show = {
  qa(found, texts) {
    const characters = Array.from(texts.context); // offsets count code points
    const [given] = found.answers;
    // What is hardly believed is listed below, but not marked in the text.
    const likely = found.answers.filter((each) => each.answer && (each === given || each.score >= 0.05));
    const text = make("p", { class: "text" });
    function draw(window) {
      const borders = [...likely, ...(window ? [window] : [])].flatMap((each) => [each.start, each.end]);
      const kindAt = (place) => {
        const mark = has(given, place) ? "first" : likely.some((each) => has(each, place)) ? "other" : "";
        return [mark, has(window, place) ? "shaded" : ""].join(" ").trim();
      };
      text.replaceChildren(
        ...pieces(characters, borders, kindAt).map(([piece, kind]) =>
          kind ? make(kind === "shaded" ? "span" : "mark", { class: kind }, piece) : piece,
        ),
      );
    }
    draw(null);
    const parts = [
      make("p", { class: "answer" }, given.answer || "No answer"),
      make("p", { class: "beside" }, percent(given.score), given.answer ? "" : ": the text does not say it"),
      text,
    ];
    if (found.answers.length > 1) {
      parts.push(make("h3", {}, "Answers"), rows(found.answers.map((each) => [each.answer || "no answer", each.score])));
    }
    const none = found.no_answer;
    parts.push(
      make("h3", {}, "No answer"),
      make(
        "p",
        { class: "note" },
        none === null
          ? "This model was trained to answer every question."
          : `${percent(none.score)}. The odds are ${none.odds.toFixed(2)}; above the threshold, ` +
              `${none.threshold.toFixed(2)}, no answer is given.`,
      ),
      make("h3", {}, found.windows.length === 1 ? "Read in one window" : `Read in ${found.windows.length} windows`),
    );
    const strip = make("ul", { class: "strip" });
    for (const each of found.windows) {
      const place = make("i");
      place.style.left = (100 * each.start) / Math.max(1, characters.length) + "%";
      place.style.width = (100 * (each.end - each.start)) / Math.max(1, characters.length) + "%";
      const said = each.answer ? `${each.answer} ` : "nothing found ";
      const where = make("span", {}, `characters ${each.start} to ${each.end}`);
      const choose = make("button", { type: "button", "aria-pressed": "false" }, said, where, place);
      choose.addEventListener("click", () => {
        const on = choose.getAttribute("aria-pressed") === "false";
        for (const other of strip.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
        choose.setAttribute("aria-pressed", String(on));
        draw(on ? each : null);
      });
      strip.append(make("li", {}, choose));
    }
    return [...parts, strip];
  },

  classification(found) {
    const [best] = found.answers;
    return [
      found.multi_label ? null : make("p", { class: "answer" }, best.label),
      found.multi_label ? make("p", { class: "beside" }, "Each class is true or not by itself.") : null,
      rows(found.answers.map((each) => [each.label, each.score])),
      cut(found),
    ];
  },

  regression(found) {
    return [
      make("p", { class: "answer" }, found.score.toFixed(3)),
      make("p", { class: "beside" }, `${found.label}, on the scale of the training's labels`),
      cut(found),
    ];
  },

  tagging(found, texts) {
    const characters = Array.from(texts.text);
    const kinds = [...new Set(found.answers.map((each) => each.entity_group))].sort();
    const borders = found.answers.flatMap((each) => [each.start, each.end]);
    const text = make("p", { class: "text" });
    const entityAt = (place) => found.answers.find((each) => has(each, place));
    text.append(
      ...pieces(characters, borders, entityAt).map(([piece, entity]) => {
        if (!entity) return piece;
        const tone = `entity tone-${kinds.indexOf(entity.entity_group) % 8}`;
        return make("span", { class: tone }, piece, make("small", {}, entity.entity_group));
      }),
    );
    if (!kinds.length) return [text, make("p", { class: "beside" }, "No entity was found.")];
    const list = found.answers.map((each) => [`${each.word} (${each.entity_group})`, each.score]);
    return [text, make("h3", {}, "Entities"), rows(list)];
  },

  mlm(found) {
    return found.masks.flatMap((words, n) => [
      make("h3", {}, found.masks.length > 1 ? `Mask ${n + 1}` : "Words"),
      rows(words.map((each) => [each.token_str, each.score])),
      found.masks.length > 1 ? null : make("p", { class: "beside" }, words[0].sequence),
    ]);
  },
};

function cut(found) {
  return found.cut ? make("p", { class: "beside" }, "The text is longer than the model reads; its end was left out.") : null;
}

/** What the server says to one request; a sentence where there is no answer. */
async function predict(body) {
  let reply;
  try {
    reply = await fetch("predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer; is it still running?");
  }
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.error);
  return found;
}

async function card(model, texts) {
  const begun = performance.now();
  const time = make("span");
  const body = make("article", { class: "card" }, make("h2", {}, model, time));
  try {
    const given = Object.fromEntries(Object.entries(texts).filter(([, text]) => text));
    const found = await predict({ model, ...given });
    time.append(`${((performance.now() - begun) / 1000).toFixed(2)} s`);
    body.append(...show[found.task](found, texts).filter((part) => part !== null));
  } catch (error) {
    body.append(make("p", { class: "bad" }, error.message));
  }
  return body;
}

function say(sentence, isBad = false) {
  state.textContent = sentence;
  state.classList.toggle("bad", isBad);
}

async function ask() {
  const data = new FormData(form);
  const models = data.getAll("model");
  data.delete("model");
  // A form sends line ends as two characters; offsets are those of what is shown.
  const texts = Object.fromEntries([...data].map(([name, text]) => [name, text.replaceAll("\r\n", "\n")]));
  if (!models.length) return say("Choose a model.", true);
  const mine = ++asked;
  say("");
  for (const old of answers.children) old.classList.add("wait");
  const cards = await Promise.all(models.map((model) => card(model, texts)));
  if (mine !== asked) return; // something else was asked meanwhile
  answers.replaceChildren(...cards);
  if (answers.getBoundingClientRect().top > window.innerHeight - 80) answers.scrollIntoView({ block: "start" });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
});
for (const example of form.querySelectorAll("[data-texts]")) {
  example.addEventListener("click", () => {
    const fields = [...form.querySelectorAll("textarea, input:not([type])")];
    JSON.parse(example.dataset.texts).forEach((text, n) => (fields[n].value = text));
    ask();
  });
}

/** Until the models are compiled nothing can be asked. */
async function wait() {
  let status = "";
  try {
    status = (await (await fetch("health")).json()).status;
  } catch {
    status = "gone";
  }
  button.disabled = status === "loading";
  if (status === "ready") return say("");
  if (status === "loading") say("The models are being compiled; this takes a moment.");
  else say("The server does not answer; is it still running?", true);
  setTimeout(wait, 1000);
}
wait();
