"use strict";
(async () => {
  const { figures: packed, dark, alphabet } = JSON.parse(document.getElementById("figures").textContent);
  let figures = {};
  const scheme = matchMedia("screen and (prefers-color-scheme: dark)"); // paper is always light

  // Base 85: five characters, most significant first, give four bytes; a short last group is padded with the last digit.
  function decode(text) {
    const digit = new Uint8Array(128);
    for (let i = 0; i < 85; i++) digit[alphabet.charCodeAt(i)] = i;
    const bytes = new Uint8Array(Math.ceil(text.length / 5) * 4);
    const view = new DataView(bytes.buffer);
    for (let i = 0, at = 0; i < text.length; i += 5, at += 4) {
      let value = 0;
      for (let j = i; j < i + 5; j++) value = value * 85 + (j < text.length ? digit[text.charCodeAt(j)] : 84);
      view.setUint32(at, value);
    }
    return bytes.subarray(0, bytes.length - ((5 - (text.length % 5)) % 5));
  }

  async function inflated(text) {
    const stream = new Blob([decode(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function load() {
    figures = JSON.parse(await inflated(packed));
    const script = document.createElement("script");
    script.textContent = await inflated(document.getElementById("plotly").textContent.trim());
    document.head.append(script);
  }

  function themed(figure) {
    let text = JSON.stringify(figure);
    if (scheme.matches) for (const [light, other] of Object.entries(dark)) text = text.replaceAll(light, other);
    return JSON.parse(text);
  }

  // An image that leaves the page needs a legend of its own.
  const save = {
    name: "save",
    title: "Save as an image",
    icon: { width: 24, height: 24, path: "M12 16 6 10h4V3h4v7h4zM4 19h16v2H4z" },
    click: (place) =>
      Plotly.downloadImage(
        { data: place.data, layout: { ...place.layout, showlegend: true, legend: { orientation: "h", y: -0.2 } } },
        { format: "png", scale: 2, width: 1000, height: 700, filename: place.dataset.figure },
      ),
  };

  async function draw() {
    const config = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: [[save, "zoom2d", "pan2d", "resetScale2d"]] };
    for (const place of document.querySelectorAll("[data-figure]")) {
      const { data, layout } = themed(figures[place.dataset.figure]);
      await Plotly.react(place, data, layout, config);
    }
    for (const sample of document.querySelectorAll("svg[data-colour]")) {
      const colour = sample.dataset.colour;
      const shown = scheme.matches ? (dark[colour] ?? colour) : colour;
      sample.setAttribute("stroke", shown);
      sample.setAttribute("fill", shown);
    }
  }

  // What a button hides stays hidden when the scheme changes, because the figure's own data is changed.
  async function toggle(button) {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    const traces = button.dataset.traces.split(",").map(Number);
    for (const i of traces) figures[button.dataset.of].data[i].visible = shown ? true : "legendonly";
    await Plotly.restyle(`plot-${button.dataset.of}`, { visible: shown ? true : "legendonly" }, traces);
  }

  try {
    await load();
    await draw();
    scheme.addEventListener("change", draw);
    for (const button of document.querySelectorAll("button.key")) button.addEventListener("click", () => toggle(button));
  } catch (error) {
    const problem = document.getElementById("figure-problem");
    problem.textContent = `The figures could not be drawn (${error.message}); a browser from 2023 or later can. The tables below hold the same numbers.`;
    problem.hidden = false;
  }

  // Paper cannot be unfolded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
})();
