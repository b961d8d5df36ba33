from setuptools import find_packages, setup

setup(name="espnet_kd", version="0.1.0", packages=find_packages(include=["espnet_kd*", "s3prl_upstreams*"]))
