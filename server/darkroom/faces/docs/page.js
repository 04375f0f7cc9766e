const told = (schema, name) => (schema?.get ? schema.get(name) : schema?.[name]);

const forms = () => ({
  afterLoad() {
    const { isFileUploadIntended, getSampleSchema } = this.fn;
    // Settings are JSON text, which the page would take for a file to choose.
    this.fn.isFileUploadIntended = (schema, ...rest) =>
      told(schema, "contentMediaType") !== "application/json" && isFileUploadIntended(schema, ...rest);
    // A field of a form starts empty, not with the word "string", unless there is an example.
    this.fn.getSampleSchema = (schema, mediaType, ...rest) => {
      const bare = told(schema, "type") === "string" && !told(schema, "examples") && !told(schema, "enum");
      return mediaType === false && bare ? "" : getSampleSchema(schema, mediaType, ...rest);
    };
  },
  wrapComponents: {
    // And a field that stays empty is not sent.
    ParameterIncludeEmpty: (Original, { React }) => (props) =>
      React.createElement(Original, {
        ...props,
        isIncludedOptions: { ...props.isIncludedOptions, defaultValue: false },
      }),
  },
});

// Keys stay in the memory of this page: nothing of them is stored.
SwaggerUIBundle({
  dom_id: "#api",
  url: "/openapi.json",
  plugins: [forms],
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
