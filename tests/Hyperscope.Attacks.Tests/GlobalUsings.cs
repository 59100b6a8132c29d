global using Hyperscope.Boot.Tests;
global using Hyperscope.Devices;
global using Hyperscope.Guests;
global using Hyperscope.Machine;
