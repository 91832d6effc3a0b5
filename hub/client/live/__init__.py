"""The live side of the client: channels over one socket, from position to position.

message.py       what comes in, and what is wanted
protocol.py      what is said and understood on a socket: pure
codes.py         what the close of a socket means
inbox.py         what waits for one subscriber: bounded
outgoing.py      what waits to be said, at a pace that the hub does not mind
link.py          one socket, opened again and again
links.py         as few of them as the subscriptions allow
subscription.py  what people loop over
waiting.py       until an execution has ended
"""
