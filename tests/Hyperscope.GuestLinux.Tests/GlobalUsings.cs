global using System.Globalization;
global using Hyperscope.Client;
global using Hyperscope.Devices;
global using Hyperscope.Machine;
