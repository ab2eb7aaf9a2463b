"""The room report: tables, figures and a page from what evaluate left."""
