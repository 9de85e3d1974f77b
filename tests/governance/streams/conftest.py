from tests.governance.pipeline.conftest import (
    cheap_passwords as cheap_passwords,
    committed_world as committed_world,
    founded as founded,
    world as world,
)
