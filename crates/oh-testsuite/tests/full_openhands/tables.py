"""Writes and reads config.toml with the models of the OpenHands that this runs in.

    tables.py write FILE   every table and key that it knows, with its default
    tables.py read FILE    as its server reads it; prints its warnings and what it understood
"""

import copy
import json
import logging
import sys
import typing

import toml
from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from openhands.core.config import condenser_config, openhands_config, utils
from openhands.core.config.agent_config import AgentConfig
from openhands.core.config.llm_config import LLMConfig
from openhands.core.config.model_routing_config import ModelRoutingConfig

# A value of the right type where the default is "nothing", which TOML cannot say.
SAMPLES = {bool: True, int: 1, float: 0.5, str: 'text', SecretStr: 'text', dict: {}, list: []}


def types_of(annotation):
    """Returns the plain types of `X | None`, `list[X]` and the like."""
    if typing.get_origin(annotation) is typing.Annotated:
        return types_of(typing.get_args(annotation)[0])
    origin = typing.get_origin(annotation)
    if origin in (list, dict):
        return [origin]
    if origin is None:
        return [annotation]
    return [plain for part in typing.get_args(annotation) for plain in types_of(part)]


def plain(value):
    """Returns a value as TOML can hold it."""
    if isinstance(value, BaseModel):
        return table(type(value))
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (set, tuple)):
        return list(value)
    return value


def table(model, leave_out=()):
    """Returns every key of a model with its default, or a sample where that is nothing."""
    keys = {}
    for name, field in model.model_fields.items():
        value = field.get_default(call_default_factory=True)
        types = [one for one in types_of(field.annotation) if one in SAMPLES]
        if name in leave_out or (value in (None, PydanticUndefined) and not types):
            continue
        nothing = value in (None, PydanticUndefined)
        keys[name] = copy.copy(SAMPLES[types[0]]) if nothing else plain(value)
    return keys


def tables():
    """Returns the whole file."""
    core = openhands_config.OpenHandsConfig
    nested = {
        name: type(field.get_default(call_default_factory=True))
        for name, field in core.model_fields.items()
        if isinstance(field.get_default(call_default_factory=True), BaseModel)
    }
    whole = {'core': table(core, leave_out={*nested, 'llms', 'agents'})}
    # Whatever stands in it: it has no keys of its own.
    whole['extended'] = {'anything': 1}
    del nested['extended']
    for name, model in nested.items():
        whole[name] = table(model)
    whole['llm'] = table(LLMConfig)
    whole['llm']['another'] = table(LLMConfig)
    # A class path has to lead to an agent.
    agent = table(AgentConfig, leave_out={'condenser', 'extended', 'model_routing', 'classpath'})
    classpath = 'openhands.agenthub.codeact_agent.codeact_agent.CodeActAgent'
    whole['agent'] = {**agent, 'CustomAgent': {'classpath': classpath}}
    whole['model_routing'] = table(ModelRoutingConfig)
    whole['condenser'] = table(condenser_config.NoOpCondenserConfig)
    return whole


def condensers():
    """Returns a table for each kind of condenser; a file can name one only."""
    models = typing.get_args(condenser_config.CondenserConfig)
    return [table(model, leave_out={'llm_config', 'condensers'}) for model in models]


def read(file):
    """Returns the warnings and the settings of OpenHands' own loader."""
    said = []
    handler = logging.Handler(level=logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    utils.logger.openhands_logger.addHandler(handler)
    config = openhands_config.OpenHandsConfig()
    utils.load_from_toml(config, file)
    return {'warnings': said, 'config': repr(config.model_dump(mode='json'))}


if sys.argv[1] == 'write':
    with open(sys.argv[2], 'w', encoding='utf-8') as stream:
        toml.dump(tables(), stream)
    for number, condenser in enumerate(condensers()):
        with open(f'{sys.argv[2]}.{number}', 'w', encoding='utf-8') as stream:
            toml.dump({'condenser': condenser}, stream)
else:
    print('READ ' + json.dumps(read(sys.argv[2])))
