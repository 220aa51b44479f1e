"use strict";
// The search field of Django's lists has an icon for a label, or only a placeholder.
document.addEventListener("DOMContentLoaded", () => {
    const label = document.getElementById("authmodes-search-label");
    if (label) {
        document.getElementById("searchbar")?.setAttribute("aria-label", label.textContent);
    }
});

// Posts a large revocation batch after batch. Without this script, "Continue" posts each.
document.addEventListener("DOMContentLoaded", () => {
    const find = (page) => page.getElementById("authmodes-batches");
    let form = find(document);
    if (!form) {
        return;
    }
    const stop = form.querySelector("[data-stop]");
    const next = form.querySelector("[type=submit]");
    let stopped = false;

    const pause = (message) => {
        stopped = true;
        stop.hidden = true;
        next.hidden = false;
        if (message) {
            document.querySelector("#authmodes-progress p").textContent = message;
        }
    };

    const run = async () => {
        stopped = false;
        stop.hidden = false;
        next.hidden = true;
        while (!stopped) {
            let answer;
            try {
                answer = await fetch(location.href, {
                    method: "POST",
                    body: new FormData(form),
                    // The list tells the result, so the page itself has to follow.
                    redirect: "manual",
                });
            } catch {
                return pause(form.dataset.failed);
            }
            if (answer.type === "opaqueredirect") {
                return location.assign(form.dataset.list);
            }
            const page = new DOMParser().parseFromString(await answer.text(), "text/html");
            const following = find(page);
            if (!answer.ok || !following) {
                return pause(form.dataset.failed);
            }
            for (const field of following.querySelectorAll("[type=hidden]")) {
                const kept = form.querySelector(`[name="${field.name}"]`);
                if (field.name === "progress" && kept) {
                    kept.value = field.value;
                }
            }
            document.getElementById("authmodes-progress").replaceWith(
                page.getElementById("authmodes-progress"));
        }
    };

    stop.addEventListener("click", () => pause());
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        run();
    });
    run();
});
