// Starts Swagger UI on the page of the API, from files of this site only.

const page = document.getElementById("swagger");

SwaggerUIBundle({
  domNode: page,
  url: page.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  // Swagger's own site would be asked whether the document is valid.
  validatorUrl: null,
  requestInterceptor(request) {
    const isOwn = new URL(request.url, location.href).origin === location.origin;
    if (isOwn && request.method && request.method !== "GET") {
      request.headers["X-CSRFToken"] = page.dataset.csrf;
    }
    return request;
  },
});
