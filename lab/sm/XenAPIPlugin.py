"""Simulator of xapi's XenAPIPlugin: the library of host plugins in /etc/xapi.d/plugins.

xapi starts the plugin with one argument, the XML-RPC call of one of its functions
with (session reference, struct of strings), and reads the reply from its stdout.
It is installed for real SM trees as well: it comes with xapi, not with SM.
"""

import sys
import xmlrpc.client

import XenAPI


def _answer(status, key, value):
    print(xmlrpc.client.dumps(({"Status": status, key: value},), "", True))


def dispatch(functions):
    if len(sys.argv) != 2:
        raise Exception("Incorrect number of commandline arguments")
    (session_ref, args), name = xmlrpc.client.loads(sys.argv[1])
    if name not in functions:
        _answer("Failure", "ErrorDescription", ["UNKNOWN_XENAPI_PLUGIN_FUNCTION", name])
        return
    session = XenAPI.xapi_local()
    session._session = session_ref
    try:
        _answer("Success", "Value", functions[name](session, args))
    except XenAPI.Failure as failure:
        _answer("Failure", "ErrorDescription", failure.details)
    except Exception as error:
        details = ["XENAPI_PLUGIN_FAILURE", name, type(error).__name__, str(error)]
        _answer("Failure", "ErrorDescription", details)
