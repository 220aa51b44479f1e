"use strict";
// Draws the tables of the overview as charts. Without this script, the tables are open.
document.addEventListener("DOMContentLoaded", () => {
    const charts = JSON.parse(document.getElementById("authmodes-charts").textContent);
    const colours = ["#2f7d9c", "#d9822b", "#16a34a", "#a855c7", "#c62828", "#8a6d3b", "#6b7280"];
    const drawn = [];

    // The text's own colour, so that every theme is followed.
    const inherit = () => {
        Chart.defaults.color = getComputedStyle(document.querySelector(".authmodes-page")).color;
        Chart.defaults.borderColor = "rgba(128, 128, 128, 0.25)";
    };

    const draw = (chart, section) => {
        const place = section.querySelector(".authmodes-canvas");
        if (!place) {
            return;
        }
        const isHorizontal = chart.type === "horizontal";
        const canvas = document.createElement("canvas");
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", chart.title);
        place.append(canvas);
        place.hidden = false;
        section.querySelector("details").open = false;
        const rightToLeft = getComputedStyle(section).direction === "rtl";
        const counts = {beginAtZero: true, stacked: true, ticks: {precision: 0}};
        const values = {stacked: true, grid: {display: false}};
        drawn.push(new Chart(canvas, {
            type: "bar",
            data: {
                labels: chart.labels,
                datasets: chart.series.map((each, i) => ({
                    ...each,
                    backgroundColor: colours[i % colours.length],
                })),
            },
            options: {
                animation: false,
                maintainAspectRatio: false,
                // The names of days are slanted to the left, which Chart expects of the first day only.
                layout: {padding: {left: rightToLeft && !isHorizontal ? 24 : 0}},
                indexAxis: isHorizontal ? "y" : "x",
                scales: isHorizontal
                    ? {
                        x: {...counts, reverse: rightToLeft},
                        y: {...values, position: rightToLeft ? "right" : "left"},
                    }
                    : {
                        x: {...values, reverse: rightToLeft},
                        y: {...counts, position: rightToLeft ? "right" : "left"},
                    },
                plugins: {
                    legend: {display: !isHorizontal, rtl: rightToLeft},
                    tooltip: {rtl: rightToLeft},
                },
            },
        }));
    };

    // The language of the page, with the digits that its tables have.
    Chart.defaults.locale = `${document.documentElement.lang || "en"}-u-nu-latn`;
    inherit();
    document.querySelectorAll(".authmodes-chart").forEach((section, i) => {
        if (charts[i]) {
            draw(charts[i], section);
        }
    });

    // The switch between light and dark changes the page while it is open.
    new MutationObserver(() => {
        inherit();
        for (const chart of drawn) {
            chart.update();
        }
    }).observe(document.documentElement, {attributeFilter: ["data-theme", "data-bs-theme", "class"]});
});
