"""Put on the path of the processes that iqeval starts, so that `import iqtest` finds the package below."""
