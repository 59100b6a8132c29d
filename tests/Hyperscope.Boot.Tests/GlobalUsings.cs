global using Hyperscope.Devices;
global using Hyperscope.Machine;
