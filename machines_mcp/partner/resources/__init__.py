"""The endpoints, a module per resource. They are reached through `PartnerClient`."""
