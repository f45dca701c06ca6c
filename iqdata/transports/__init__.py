"""Ways to reach a space: one adapter a protocol behind the port in `base`.

`connect` in `iqdata.transports.connect` picks the adapter; nothing above this package knows ftplib or paramiko.
"""
