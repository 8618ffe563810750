"use strict";
(async () => {
  const { figures, dark, alphabet } = JSON.parse(document.getElementById("figures").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");

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

  async function load() {
    const bytes = decode(document.getElementById("plotly").textContent.trim());
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function themed(figure) {
    let text = JSON.stringify(figure);
    if (scheme.matches) for (const [light, other] of Object.entries(dark)) text = text.replaceAll(light, other);
    return JSON.parse(text);
  }

  async function draw() {
    const config = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
    for (const place of document.querySelectorAll("[data-figure]")) {
      const { data, layout } = themed(figures[place.dataset.figure]);
      await Plotly.react(place, data, layout, config);
    }
  }

  try {
    await load();
    await draw();
    scheme.addEventListener("change", draw);
  } catch (error) {
    const problem = document.getElementById("figure-problem");
    problem.textContent = `The figures could not be drawn (${error.message}); a browser from 2023 or later can. The tables below hold the same numbers.`;
    problem.hidden = false;
  }
})();
