"""A strict stand-in for the parts of AWS that Logwise talks to, grown around moto."""

import os

ACCOUNT = "123456789012"

# moto reads these once, while it is imported.
os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
os.environ["MOTO_S3_DEFAULT_KEY_BUFFER_SIZE"] = str(8 << 20)
os.environ["MOTO_MAX_FORM_MEMORY_SIZE"] = str(512 << 20)
