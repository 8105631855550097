// A Web of Things client (node-wot) that speaks one protocol. It reads commands as JSON, one in a
// line, and answers each with a line of JSON; what it observes are lines of their own.
import { createInterface } from "node:readline";
import core from "@node-wot/core";
import http from "@node-wot/binding-http";
import coap from "@node-wot/binding-coap";
import mqtt from "@node-wot/binding-mqtt";

const FACTORIES = {
  http: () => new http.HttpClientFactory(),
  coap: () => new coap.CoapClientFactory(),
  mqtt: () => new mqtt.MqttClientFactory(),
};

const [protocol, directory, token, thing] = process.argv.slice(2);
const tell = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const servient = new core.Servient();
servient.addClientFactory(FACTORIES[protocol]());
if (protocol !== "http") servient.addClientFactory(FACTORIES.http()); // of the directory
const credentials = { token, username: "admin", password: token };
const wot = await servient.start();

async function description() {
  const self = await wot.requestThingDescription(`${directory}/.well-known/wot`);
  servient.addCredentials({ [self.id]: credentials, [thing]: credentials });
  for await (const found of await wot.exploreDirectory(`${directory}/.well-known/wot`)) {
    if (found.id === thing) return found;
  }
  throw new Error(`${thing} is not in the directory`);
}

// node-wot 0.8.16 hands its clients a list of credentials where a form has security of its own, and
// they take one: what forms say is said of the thing instead.
const only = (td) => {
  for (const kind of ["properties", "actions", "events"]) {
    for (const affordance of Object.values(td[kind] ?? {})) {
      affordance.forms = affordance.forms.filter((form) => form.href.startsWith(`${protocol}:`));
      for (const form of affordance.forms) {
        td.security = form.security ?? td.security;
        delete form.security;
      }
    }
  }
  return td;
};

const consumed = await wot.consume(only(await description()));
const commands = {
  invoke: async ({ name, input }) => (await consumed.invokeAction(name, input))?.value(),
  read: async ({ name }) => (await consumed.readProperty(name)).value(),
  write: async ({ name, value }) => consumed.writeProperty(name, value),
  observe: async ({ name }) => {
    await consumed.observeProperty(name, async (output) => {
      try {
        tell({ observed: await output.value() });
      } catch (error) {
        tell({ error: `${error}: ${JSON.stringify(output)}` });
      }
    });
  },
};
tell({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    tell({ answer: (await commands[command.do](command)) ?? null });
  } catch (error) {
    tell({ error: String(error) });
  }
}
process.exit(0);
