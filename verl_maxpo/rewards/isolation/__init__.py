"""Child processes in which verifiers run, and what they may not do; docs/isolation.md describes it.

A response passes through these modules, in this order:

- :mod:`.pool`: what the rest of the package calls, from any event loop,
- :mod:`.supervisor`: a thread that gives each response to a child, watches the child and judges what became of it,
- :mod:`.processes`: the server and the children as the supervisor sees them,
- :mod:`.server`: the process that has imported the verifiers and forks the children,
- :mod:`.child`: what a child does with a response.

:mod:`.messages` is what these processes say to each other. :mod:`.lockdown` is what a child may not do and
calls one module for each layer: :mod:`.namespaces`, :mod:`.landlock`, :mod:`.system_calls`, :mod:`.audit`.
"""
